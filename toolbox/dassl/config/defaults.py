"""Every key and its default. A yaml may only set keys that are here, or that a trainer's `extend_cfg` adds."""

from __future__ import annotations

from yacs.config import CfgNode

_DEFAULTS = {
    "VERSION": 1,
    "OUTPUT_DIR": "./output",
    # a folder of checkpoints to go on from; "" looks in OUTPUT_DIR
    "RESUME": "",
    # negative: the run is not seeded
    "SEED": -1,
    "USE_CUDA": True,
    "VERBOSE": True,
    "INPUT": {
        "SIZE": (224, 224),
        "INTERPOLATION": "bilinear",
        # names from dassl.data.transforms
        "TRANSFORMS": (),
        # hand images out as they are
        "NO_TRANSFORM": False,
        "PIXEL_MEAN": [0.485, 0.456, 0.406],
        "PIXEL_STD": [0.229, 0.224, 0.225],
        "CROP_PADDING": 4,
        "RRCROP_SCALE": (0.08, 1.0),
        "CUTOUT_N": 1,
        "CUTOUT_LEN": 16,
        "GN_MEAN": 0.0,
        "GN_STD": 0.15,
        "RANDAUGMENT_N": 2,
        "RANDAUGMENT_M": 10,
        "COLORJITTER_B": 0.4,
        "COLORJITTER_C": 0.4,
        "COLORJITTER_S": 0.4,
        "COLORJITTER_H": 0.4,
        "RGS_P": 0.2,
        "GB_P": 0.5,
        "GB_K": 21,
    },
    "DATASET": {
        "ROOT": "",
        "NAME": "",
        "SOURCE_DOMAINS": (),
        "TARGET_DOMAINS": (),
        "NUM_LABELED": -1,
        # images per class; below 1: all of them
        "NUM_SHOTS": -1,
        "VAL_PERCENT": 0.1,
        "ALL_AS_UNLABELED": False,
    },
    "DATALOADER": {
        "NUM_WORKERS": 4,
        # views per training image
        "K_TRANSFORMS": 1,
        # also return the image without augmentation, as img0
        "RETURN_IMG0": False,
        "TRAIN_X": {"SAMPLER": "RandomSampler", "BATCH_SIZE": 32, "N_DOMAIN": 0, "N_INS": 16},
        "TRAIN_U": {
            # the four below are then those of TRAIN_X
            "SAME_AS_X": True,
            "SAMPLER": "RandomSampler",
            "BATCH_SIZE": 32,
            "N_DOMAIN": 0,
            "N_INS": 16,
        },
        "TEST": {"SAMPLER": "SequentialSampler", "BATCH_SIZE": 32},
    },
    "MODEL": {
        "INIT_WEIGHTS": "",
        "BACKBONE": {"NAME": "", "PRETRAINED": True},
        "HEAD": {"NAME": "", "HIDDEN_LAYERS": (), "ACTIVATION": "relu", "BN": True, "DROPOUT": 0.0},
    },
    "OPTIM": {
        "NAME": "adam",
        "LR": 0.0003,
        "WEIGHT_DECAY": 5e-4,
        "MOMENTUM": 0.9,
        # spelt as in every yaml
        "SGD_DAMPNING": 0,
        "SGD_NESTEROV": False,
        "RMSPROP_ALPHA": 0.99,
        "ADAM_BETA1": 0.9,
        "ADAM_BETA2": 0.999,
        # layers outside NEW_LAYERS learn at LR * BASE_LR_MULT
        "STAGED_LR": False,
        "NEW_LAYERS": (),
        "BASE_LR_MULT": 0.1,
        "LR_SCHEDULER": "single_step",
        # single_step takes the last one; below 1: MAX_EPOCH
        "STEPSIZE": (-1,),
        "GAMMA": 0.1,
        "MAX_EPOCH": 10,
        "WARMUP_EPOCH": -1,
        "WARMUP_TYPE": "linear",
        "WARMUP_CONS_LR": 1e-5,
        "WARMUP_MIN_LR": 1e-5,
        # the schedule proper counts its epochs from the end of the warm-up
        "WARMUP_RECOUNT": True,
    },
    "TRAIN": {
        # epochs between checkpoints; 0: only the last epoch
        "CHECKPOINT_FREQ": 0,
        # batches between log lines
        "PRINT_FREQ": 10,
        # what an epoch of TrainerXU counts: train_x, train_u or smaller_one
        "COUNT_ITER": "train_x",
    },
    "TEST": {
        "EVALUATOR": "Classification",
        "PER_CLASS_RESULT": False,
        # write the confusion matrix to OUTPUT_DIR/cmat.pt
        "COMPUTE_CMAT": False,
        "NO_TEST": False,
        "SPLIT": "test",
        # last_step or best_val
        "FINAL_MODEL": "last_step",
    },
    "TRAINER": {"NAME": ""},
}


def get_cfg_default() -> CfgNode:
    """A fresh copy of the defaults, free to extend and change."""
    return CfgNode(_DEFAULTS).clone()


def clean_cfg(cfg: CfgNode, trainer: str) -> None:
    """Drop the settings of all trainers but `trainer`, so that a printed cfg shows only what counts."""
    for key in list(cfg.TRAINER):
        if key not in ("NAME", trainer.upper()):
            del cfg.TRAINER[key]
