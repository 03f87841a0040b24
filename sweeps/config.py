"""The configuration of one run: defaults, yaml files, flags and KEY VALUE pairs, checked and merged."""

import argparse
import importlib
import pkgutil
import re
from collections.abc import Sequence
from pathlib import Path

from ccli import plugins
from ccli.errors import CcliError, first_line, in_one_line, nearest, printable
from ccli.results.records import leaves

KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)+|PROTOCOL|USE_CUDA|VERBOSE|SEED|OUTPUT_DIR|CFG_NAME")  # of an option
PACKAGES = ("ccli.trainers", "ccli.datasets.common", "ccli.datasets")  # whose modules add keys, trainers and data sets


def setup_cfg(args: argparse.Namespace):
    """Merge defaults, all trainers' and data sets' keys (plugins' too), the two yaml files, flags and KEY VALUE pairs.

    Raises:
        CcliError: an unknown file or option, or a value that does not fit.
    """
    if printable(args.model_dir) != args.model_dir:
        raise CcliError(f"--model-dir {args.model_dir!r} is not UTF-8; a log cannot hold it; rename the folder")
    from dassl.config import get_cfg_default

    cfg = get_cfg_default()
    own = [one for package in PACKAGES for one in import_all(package)]
    for module in (*own, *plugins.modules()):
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
    from ccli.trainers.common.options import test_all_of_another_folder

    refuse_odd(cfg)
    if args.eval_only and "DATASET.TEST_SHARE" not in args.opts:
        test_all_of_another_folder(cfg, args.model_dir)
    if "USE_CUDA" in args.opts and cfg.USE_CUDA:
        import torch

        if not torch.cuda.is_available():
            raise CcliError("USE_CUDA True: there is no CUDA device here; leave it out to run on the CPU")
    cfg.freeze()
    return cfg


def flags_and_pairs(argv: Sequence[str], parser: argparse.ArgumentParser) -> tuple[list[str], list[str]]:
    """Divide a command line into the parser's flags with their values, and KEY VALUE pairs, in whatever order.

    A flag where a KEY's VALUE belongs leaves the KEY alone, which is refused later.
    """
    known = {name: action.nargs == 0 for action in parser._actions for name in action.option_strings}
    flags, pairs, words = [], [], list(argv)
    while words:
        before = flags[-1] if flags else ""
        switch = any(name.startswith(before) for name, is_switch in known.items() if is_switch)  # it may be shortened
        if KEY.fullmatch(words[0]) and (switch or "=" in before or not before.startswith("--")):
            count = 1 if words[1:] and words[1].partition("=")[0] in known else 2
            pairs += words[:count]
            del words[:count]
        else:
            flags.append(words.pop(0))
    return flags, pairs


def import_all(package: str) -> list:
    """Import every module of a package, so that its trainers or data sets are registered."""
    folder = importlib.import_module(package)
    names = [m.name for m in pkgutil.iter_modules(folder.__path__) if not m.ispkg]
    return [importlib.import_module(f"{package}.{name}") for name in names]


def merge_file(cfg, path: str) -> None:
    if not Path(path).is_file():
        siblings = sorted(p.stem for p in Path(path).parent.glob("*.yaml"))
        there = f" There are {', '.join(siblings)}." if siblings else ""
        raise CcliError(f"no configuration {path}.{nearest(Path(path).stem, siblings)}{there}")
    if Path(path).suffix not in (".yaml", ".yml"):  # yacs would run a .py
        raise CcliError(f"{path}: a configuration must be a .yaml file")
    try:
        from ccli.trainers.common.checks import refuse_growing

        refuse_growing(path)
        cfg.merge_from_file(path)
    except KeyError as error:
        key = str(error).strip("'\"").rpartition(" ")[2]
        raise CcliError(f"{path}: unknown option {key}.{nearest(key, dict(leaves(cfg)))}") from error
    except Exception as error:
        raise CcliError(f"{path}: {first_line(error)}") from error


def merge_pairs(cfg, pairs: list) -> None:
    if len(pairs) % 2:
        raise CcliError(f"options come as KEY VALUE pairs, but {pairs[-1]!r} stands alone")
    known = dict(leaves(cfg))
    for key, value in zip(pairs[::2], pairs[1::2]):
        if key not in known:
            hint = f"{nearest(key, known)} The defaults are listed at the head of any log.txt"
            raise CcliError(f"unknown option {printable(key)}.{hint}")
        with in_one_line(Exception, f"option {key}: {value!r} does not fit"):  # odd literals raise many types
            cfg.merge_from_list([key, value])
