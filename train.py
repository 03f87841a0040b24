"""One run: train a method on a data set (or evaluate a finished one), with CoOp's command line.

    python train.py --root DATA --seed 1 --trainer CCLI --dataset-config-file configs/datasets/concept_shapes.yaml \\
        --config-file configs/trainers/CCLI/demo_clip.yaml --output-dir output/try DATASET.NUM_SHOTS 16

Merged in this order: data set yaml, trainer yaml, flags, KEY VALUE pairs. A run ends by writing result.json into
--output-dir, and so does an evaluation. scripts/ccli/main.sh calls this for several seeds.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
import threading
from pathlib import Path

from ccli.errors import CcliError, first_line, nearest, of_the_disk, printable


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--root", default="", help="folder of the data sets")
    add("--output-dir", default="", help="where log, checkpoints and result.json go (./output itself where not given)")
    add("--resume", default="", help="folder to resume from (an unfinished --output-dir is resumed anyway)")
    add("--seed", type=int, default=-1, help="of the draw, the start and the order of batches; -1: none")
    add("--source-domains", nargs="+", help="source domains (kept for Dassl)")
    add("--target-domains", nargs="+", help="target domains (kept for Dassl)")
    add("--transforms", nargs="+", help="data augmentation (kept for Dassl)")
    add("--config-file", default="", help="the trainer's yaml: configs/trainers/TRAINER/CFG.yaml")
    add("--dataset-config-file", default="", help="the data set's yaml: configs/datasets/NAME.yaml")
    add("--trainer", default="", help="CCLI, ZeroshotCLIP ...")
    add("--backbone", default="", help="RN50, ViT-B/16, demo-clip, any open_clip NAME@TAG, or a path to local weights")
    add("--head", default="", help="name of a head (kept for Dassl)")
    add("--eval-only", action="store_true", help="test the run in --model-dir, train nothing")
    add("--model-dir", default="", help="a finished run's folder")
    add("--load-epoch", type=int, help="its checkpoint of this epoch")
    add("--no-train", action="store_true", help="build everything, train nothing")
    add("--deterministic", action="store_true", help="the same bits from the same command on a GPU, too; slower there")
    add("--skip-done", action="store_true", help="do nothing where --output-dir holds this run or evaluation, finished")
    add("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs, such as DATASET.NUM_SHOTS 16 TRAINER.CCLI.TOP_K 5")
    return parser.parse_args(argv)


def setup_cfg(args: argparse.Namespace):
    """Defaults, the keys of all trainers and data sets, then the four sources in their order."""
    if printable(args.model_dir) != args.model_dir:
        raise CcliError(f"--model-dir {args.model_dir!r} is not UTF-8, which no log can hold; give another name")
    try:
        from dassl.config import get_cfg_default
    except ModuleNotFoundError as error:
        raise not_installed(error) from error
    cfg = get_cfg_default()
    for package in ("ccli.trainers", "ccli.datasets.common", "ccli.datasets"):
        for module in import_all(package):
            getattr(module, "extend_cfg", lambda cfg: None)(cfg)
    for path in (args.dataset_config_file, args.config_file):
        if path:
            merge_file(cfg, path)
    flags = {
        "DATASET.ROOT": args.root, "OUTPUT_DIR": args.output_dir, "RESUME": args.resume,
        "DATASET.SOURCE_DOMAINS": args.source_domains, "DATASET.TARGET_DOMAINS": args.target_domains,
        "INPUT.TRANSFORMS": args.transforms, "TRAINER.NAME": args.trainer, "MODEL.BACKBONE.NAME": args.backbone,
        "MODEL.HEAD.NAME": args.head, "CFG_NAME": Path(args.config_file).stem,
    }  # fmt: skip
    pairs = [x for key, value in flags.items() if value for x in (key, value)]
    cfg.SEED = args.seed
    merge_pairs(cfg, pairs + args.opts)
    from ccli.trainers.common.checks import refuse_odd

    refuse_odd(cfg)
    if "USE_CUDA" in args.opts and cfg.USE_CUDA:
        import torch

        if not torch.cuda.is_available():
            raise CcliError(
                "USE_CUDA True was asked for and there is no CUDA device here; leave it out to use what is there"
            )
    cfg.freeze()
    return cfg


def import_all(package: str) -> list:
    """Import every module of a package, so that trainers and data sets register themselves."""
    try:
        folder = importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise not_installed(error) from error
    names = [m.name for m in pkgutil.iter_modules(folder.__path__) if not m.ispkg]
    return [importlib.import_module(f"{package}.{name}") for name in names]


def not_installed(error: ModuleNotFoundError) -> CcliError:
    return CcliError(f"{error.name} is not installed here: run `bash scripts/install.sh` and use .venv/bin/python")


def merge_file(cfg, path: str) -> None:
    if not Path(path).is_file():
        siblings = sorted(p.stem for p in Path(path).parent.glob("*.yaml"))
        there = f" There are {', '.join(siblings)}." if siblings else ""
        raise CcliError(f"no configuration {path}.{nearest(Path(path).stem, siblings)}{there}")
    if Path(path).suffix not in (".yaml", ".yml"):  # yacs would run a .py
        raise CcliError(f"{path}: a configuration is a .yaml, and nothing else is read")
    try:
        from ccli.trainers.common.checks import refuse_growing

        refuse_growing(path)
        cfg.merge_from_file(path)
    except KeyError as error:
        key = str(error).strip("'\"").rpartition(" ")[2]
        raise CcliError(f"{path}: unknown option {key}.{nearest(key, all_keys(cfg))}") from error
    except Exception as error:
        raise CcliError(f"{path}: {first_line(error)}") from error


def merge_pairs(cfg, pairs: list) -> None:
    if len(pairs) % 2:
        raise CcliError(f"options come as KEY VALUE pairs, but {pairs[-1]!r} stands alone")
    known = all_keys(cfg)
    for key, value in zip(pairs[::2], pairs[1::2]):
        if key not in known:
            hint = f"{nearest(key, known)} The defaults are listed at the head of any log.txt"
            raise CcliError(f"unknown option {printable(key)}.{hint}")
        try:
            cfg.merge_from_list([key, value])
        except Exception as error:  # literals that nest or hash badly raise half a dozen types
            raise CcliError(f"option {key}: {value!r} does not fit ({first_line(error)})") from error


def all_keys(node, prefix: str = "") -> list[str]:
    keys = []
    for key, value in node.items():
        keys += all_keys(value, f"{prefix}{key}.") if hasattr(value, "merge_from_list") else [prefix + key]
    return keys


def run(args: argparse.Namespace) -> None:
    trainer = prepare(args)
    if trainer is None:
        return
    if args.eval_only:
        trainer.test()
    elif not args.no_train:
        trainer.train()


def prepare(args: argparse.Namespace):
    """The trainer, built and ready to train or test; None where --skip-done finds nothing to do."""
    cfg = setup_cfg(args)
    from dassl.data.datasets import DATASET_REGISTRY
    from dassl.engine import TRAINER_REGISTRY, build_trainer
    from dassl.evaluation import EVALUATOR_REGISTRY
    from dassl.utils import collect_env_info, set_random_seed, setup_logger

    for what, name, registry in (
        ("trainer", cfg.TRAINER.NAME, TRAINER_REGISTRY), ("data set", cfg.DATASET.NAME, DATASET_REGISTRY),
        ("TEST.EVALUATOR", cfg.TEST.EVALUATOR, EVALUATOR_REGISTRY),
    ):  # fmt: skip
        known = registry.registered_names()
        if name not in known:
            raise CcliError(f"unknown {what} {name!r}; there are {', '.join(known)}.{nearest(name, known)}")
    from ccli.trainers.common.classes import check_trainable

    if not (args.eval_only or args.no_train):  # before anything is drawn or encoded
        check_trainable(
            cfg.DATASET.NAME, DATASET_REGISTRY.get(cfg.DATASET.NAME), TRAINER_REGISTRY.get(cfg.TRAINER.NAME)
        )
    if args.skip_done and is_done(cfg, args):
        print(f"{cfg.OUTPUT_DIR} is done; skipped")
        return None
    same_bits(args.deterministic)
    if cfg.SEED >= 0:
        print(f"Setting fixed seed: {cfg.SEED}")
        set_random_seed(cfg.SEED)
    try:
        setup_logger(cfg.OUTPUT_DIR)
    except OSError as error:
        raise CcliError(
            f"cannot write to {cfg.OUTPUT_DIR} ({error.strerror or error}); choose another --output-dir"
        ) from error
    banner("Arguments", "\n".join(f"{key}: {value}" for key, value in sorted(vars(args).items())))
    banner("Config", str(cfg))
    banner("System info", collect_env_info())
    try:
        trainer = build_trainer(cfg)
        if args.eval_only:
            trainer.load_model(args.model_dir, epoch=args.load_epoch)
    except CcliError:
        leave_nothing(cfg.OUTPUT_DIR)
        raise
    return trainer


def same_bits(wanted: bool) -> None:
    """Algorithms that give the same bits each time, which only a GPU has others than; before CUDA starts."""
    import torch

    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
        torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = wanted
    if wanted != torch.are_deterministic_algorithms_enabled():  # to set it imports torch's compiler
        torch.use_deterministic_algorithms(wanted)


def is_done(cfg, args: argparse.Namespace) -> bool:
    """Whether the output folder holds the record of this run, or of this evaluation of the run as it is now.

    Raises:
        CcliError: it holds a record of other options, or that of an evaluation where a run is to be trained.
    """
    from ccli.results.identity import folder_state
    from ccli.trainers.common.checkpoints import (
        is_evaluated,
        other_images,
        refuse_differing,
        refuse_foreign_record,
        why_no_record,
    )
    from ccli.trainers.common.feature_source import are_its_images
    from ccli.trainers.common.options import plain_config

    found = folder_state(cfg.OUTPUT_DIR, lambda: plain_config(cfg))
    if found.problem:
        print(f"{found.problem}: it is made again", file=sys.stderr)
    if found.record is None:
        return False
    if args.eval_only:
        if why_no_record(args.model_dir, args.load_epoch, cfg.OUTPUT_DIR, cfg.TEST.SPLIT):
            return False
        refuse_differing(cfg.OUTPUT_DIR, found.differing)
        return are_its_images(cfg, found.record, trained=False) and is_evaluated(args.model_dir, cfg.OUTPUT_DIR)
    refuse_foreign_record(cfg.OUTPUT_DIR, found)
    if not are_its_images(cfg, found.record):
        raise other_images(cfg.OUTPUT_DIR)
    return True


def leave_nothing(folder: str) -> None:
    """Remove the log of a run that was refused before it began, where there is nothing else in its folder."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    if names == ["log.txt"]:
        os.remove(os.path.join(folder, "log.txt"))
        os.rmdir(folder)


def banner(title: str, text: str) -> None:
    stars = "*" * (len(title) + 6)
    print(f"{stars}\n** {title} **\n{stars}\n{text}")


def main() -> None:
    args = arguments()
    threading.excepthook = _in_a_thread
    try:
        run(args)
    except (CcliError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if not of_the_disk(error):
            raise
        sys.exit(f"error: {of_the_disk(error)}")
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command resumes")
    finally:
        sys.stdout.flush()


def _in_a_thread(problem) -> None:
    """TensorBoard writes in a thread, and raises a disk's error once more where it can be told in a line."""
    if not of_the_disk(problem.exc_value):
        threading.__excepthook__(problem)


def share_cores() -> None:
    """Set, before torch is imported, how threads wait.

    Threads that spin for long while they wait make small steps 60 times slower where another process wants the cores.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


if __name__ == "__main__":
    share_cores()
    main()
