"""The names of Dassl 0.6.3 that plugins use, by the module that they are imported from."""

_TOOLS = (
    "set_random_seed collect_env_info read_json write_json mkdir_if_missing listdir_nohidden check_isfile read_image "
    "tolist_if_not check_availability"
)
_TORCH = "load_checkpoint save_checkpoint resume_from_checkpoint load_pretrained_weights count_num_param"
_TABLE = {
    "dassl.utils": f"{_TOOLS} {_TORCH} setup_logger Registry AverageMeter MetricMeter",
    "dassl.utils.tools": _TOOLS,
    "dassl.utils.torchtools": _TORCH,
    "dassl.utils.logger": "setup_logger",
    "dassl.utils.registry": "Registry",
    "dassl.utils.meters": "AverageMeter MetricMeter",
    "dassl.config": "get_cfg_default clean_cfg",
    "dassl.engine": "build_trainer TRAINER_REGISTRY TrainerBase SimpleTrainer SimpleNet TrainerX TrainerXU",
    "dassl.engine.trainer": "TrainerBase SimpleTrainer SimpleNet TrainerX TrainerXU",
    "dassl.data": "DataManager",
    "dassl.data.data_manager": "build_data_loader DatasetWrapper",
    "dassl.data.datasets": "DATASET_REGISTRY DatasetBase Datum build_dataset",
    "dassl.data.transforms": "build_transform INTERPOLATION_MODES",
    "dassl.data.samplers": "build_sampler",
    "dassl.evaluation": "EVALUATOR_REGISTRY build_evaluator Classification EvaluatorBase",
    "dassl.metrics": "compute_accuracy",
    "dassl.optim": "build_optimizer build_lr_scheduler",
}
NAMES = {module: tuple(names.split()) for module, names in _TABLE.items()}
