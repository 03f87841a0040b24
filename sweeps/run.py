"""One run: its command line, and training or evaluation from it."""

import argparse
import os
import sys
from collections.abc import Sequence

from ccli.errors import CcliError, nearest, os_errors
from ccli.sweeps.config import flags_and_pairs, setup_cfg


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a run: CoOp's, --deterministic and --skip-done."""
    add = parser.add_argument
    add("--root", default="", help="folder of the data sets")
    add("--output-dir", default="", help="folder of the log, checkpoints and result.json (default: ./output)")
    add("--resume", default="", help="folder to resume from (an unfinished --output-dir is resumed anyway)")
    add("--seed", type=int, default=-1, help="of the draw, the initial weights and the order of batches; -1: none")
    add("--source-domains", nargs="+", help="source domains (kept for Dassl)")
    add("--target-domains", nargs="+", help="target domains (kept for Dassl)")
    add("--transforms", nargs="+", help="data augmentation (kept for Dassl)")
    add("--config-file", default="", help="the trainer's yaml: configs/trainers/TRAINER/CFG.yaml")
    add("--dataset-config-file", default="", help="the data set's yaml: configs/datasets/NAME.yaml")
    add("--trainer", default="", help="CCLI, ZeroshotCLIP ...")
    add("--backbone", default="", help="RN50, ViT-B/16, demo-clip, any open_clip NAME@TAG, or a path to local weights")
    add("--head", default="", help="name of a head (kept for Dassl)")
    add("--eval-only", action="store_true", help="test the run in --model-dir, do not train")
    add("--model-dir", default="", help="a finished run's folder")
    add("--load-epoch", type=int, help="the epoch of the checkpoint to evaluate")
    add("--no-train", action="store_true", help="build everything, but do not train")
    add("--deterministic", action="store_true", help="give the same bits each time on a GPU, too (slower)")
    add("--skip-done", action="store_true", help="do nothing if --output-dir holds this run or evaluation, finished")
    add("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs, such as DATASET.NUM_SHOTS 16 TRAINER.CCLI.TOP_K 5")


def arguments(argv: Sequence[str], parser: argparse.ArgumentParser | None = None) -> argparse.Namespace:
    """Parse a run's command line: flags and KEY VALUE pairs in any order.

    Args:
        parser: that has further words of help; its arguments are added here.
    """
    parser = parser or argparse.ArgumentParser()
    add_arguments(parser)
    flags, pairs = flags_and_pairs(argv, parser)
    args = parser.parse_args(flags)
    args.opts = pairs + args.opts
    return args


def run(args: argparse.Namespace) -> None:
    """Train or evaluate; result.json in the output folder is written last.

    Raises:
        CcliError: options that do not fit, missing files, or a folder that holds another run.
    """
    trainer = prepare(args)
    if trainer and args.eval_only:
        trainer.test()
    elif trainer and not args.no_train:
        trainer.train()


def prepare(args: argparse.Namespace):
    """Build the trainer, ready to train or test; None if --skip-done finds a finished run."""
    cfg = setup_cfg(args)
    from dassl.data.datasets import DATASET_REGISTRY
    from dassl.engine import TRAINER_REGISTRY, build_trainer
    from dassl.evaluation import EVALUATOR_REGISTRY
    from dassl.utils import collect_env_info, set_random_seed, setup_logger

    _refuse_unknown("trainer", cfg.TRAINER.NAME, TRAINER_REGISTRY)
    _refuse_unknown("data set", cfg.DATASET.NAME, DATASET_REGISTRY)
    _refuse_unknown("TEST.EVALUATOR", cfg.TEST.EVALUATOR, EVALUATOR_REGISTRY)
    from ccli.trainers.common.checks import check_trainable

    if not (args.eval_only or args.no_train):  # before anything is drawn or encoded
        trainer = TRAINER_REGISTRY.get(cfg.TRAINER.NAME)
        check_trainable(cfg.DATASET.NAME, DATASET_REGISTRY.get(cfg.DATASET.NAME), trainer)
    if args.skip_done and is_done(cfg, args):
        print(f"{cfg.OUTPUT_DIR} is done; skipped")
        return None
    same_bits(args.deterministic)
    if cfg.SEED >= 0:
        print(f"Setting fixed seed: {cfg.SEED}")
        set_random_seed(cfg.SEED)
    with os_errors(f"cannot write to {cfg.OUTPUT_DIR}", "choose another --output-dir"):
        setup_logger(cfg.OUTPUT_DIR)
    flags = "\n".join(f"{key}: {value}" for key, value in sorted(vars(args).items()))
    for title, text in (("Arguments", flags), ("Config", cfg), ("System info", collect_env_info())):
        stars = "*" * (len(title) + 6)
        print(f"{stars}\n** {title} **\n{stars}\n{text}")
    try:
        trainer = build_trainer(cfg)
        if args.eval_only:
            trainer.load_model(args.model_dir, epoch=args.load_epoch)
    except CcliError:
        if os.path.isdir(cfg.OUTPUT_DIR) and os.listdir(cfg.OUTPUT_DIR) == ["log.txt"]:  # refused before it began
            os.remove(os.path.join(cfg.OUTPUT_DIR, "log.txt"))
            os.rmdir(cfg.OUTPUT_DIR)
        raise
    return trainer


def _refuse_unknown(what: str, name: str, registry) -> None:
    known = registry.registered_names()
    if name not in known:
        raise CcliError(f"unknown {what} {name!r}; there are {', '.join(known)}.{nearest(name, known)}")


def same_bits(wanted: bool) -> None:
    """Choose algorithms that give the same bits each time, or, on a GPU, faster ones; before CUDA starts."""
    import torch

    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
        torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = wanted
    if wanted != torch.are_deterministic_algorithms_enabled():  # setting it imports torch's compiler
        torch.use_deterministic_algorithms(wanted)


def is_done(cfg, args: argparse.Namespace) -> bool:
    """Whether the output folder holds the record of this run, or of this evaluation of the run as it is now.

    Raises:
        CcliError: it holds a record of other options, or that of an evaluation where a run is to be trained.
    """
    from ccli.results.identity import folder_state
    from ccli.trainers.common import checkpoints
    from ccli.trainers.common.feature_source import are_its_images
    from ccli.trainers.common.options import plain_config

    found = folder_state(cfg.OUTPUT_DIR, lambda: plain_config(cfg))
    if found.problem:
        print(f"{found.problem}: it is made again", file=sys.stderr)
    if found.record is None:
        return False
    if args.eval_only:
        if checkpoints.why_no_record(args.model_dir, args.load_epoch, cfg.OUTPUT_DIR, cfg.TEST.SPLIT):
            return False
        checkpoints.refuse_differing(cfg.OUTPUT_DIR, found.differing)
        same_images = are_its_images(cfg, found.record, trained=False)
        return same_images and checkpoints.is_evaluated(args.model_dir, cfg.OUTPUT_DIR)
    checkpoints.refuse_foreign_record(cfg.OUTPUT_DIR, found)
    if not are_its_images(cfg, found.record):
        raise checkpoints.other_images(cfg.OUTPUT_DIR)
    return True
