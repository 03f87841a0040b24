"""Which images the runs of a sweep still have to encode."""

import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import torch
from tqdm import tqdm

from ccli.errors import CcliError, SettingError
from ccli.features.bundles import read_bundle
from ccli.features.decoding import BENCHMARK
from ccli.features.encoder import BATCH
from ccli.sweeps.config import setup_cfg
from ccli.sweeps.plan import Run
from ccli.sweeps.run import arguments

SHARE = 256  # encodings that one task of a cluster is given, at least: it has to load the model first


class Missing(NamedTuple):
    """Images without features."""

    run: Run  # one of those that want them
    paths: list[str]
    views: tuple  # () for the images as they are, or (number of views, their share of the area)


def missing_images(runs: Sequence[Run]) -> tuple[list[Missing], dict[Path, str]]:
    """What is to be encoded before all runs can start, and folder -> why its run cannot be made.

    Errors other than CcliError are left to the runs, which keep their traceback.
    """
    wanted: dict[tuple, tuple[list[Run], object, dict[str, None]]] = {}  # (encoder, views) -> users, encoder, paths
    problems = _refused(runs)
    drawn: dict[tuple, object] = {}
    able = [run for run in runs if run.folder not in problems]
    calls = sorted((c for run in able for c in run.calls()), key=lambda c: (c.dataset, c.shots, c.seed))
    for call in tqdm(calls, desc="Looking for features", leave=False, disable=len(calls) < 100 or None):
        try:
            for encoder, paths, views in _wanted(call, drawn):
                users, _, all_paths = wanted.setdefault((id(encoder), views), ([], encoder, {}))
                users.append(call)
                all_paths.update(dict.fromkeys(paths))
        except CcliError as error:
            problems[call.folder] = str(error)
        except Exception:
            continue
    found = []
    for (_, views), (users, encoder, paths) in wanted.items():
        try:
            found.append(Missing(users[0], encoder.missing(list(paths), *views), views))
        except CcliError as error:
            problems |= {call.folder: str(error) for call in users}
    return [item for item in found if item.paths], problems


def _refused(runs: Sequence[Run]) -> dict[Path, str]:
    """Output folder -> why its run cannot be made: the data set has test images alone, or an option cannot be used."""
    one_of_each = {(run.dataset, run.trainer, run.cfg): run for run in runs}  # seeds and shots make no difference
    found = {key: _why_refused(run) for key, run in one_of_each.items()}
    return {run.folder: why for run in runs if (why := found[run.dataset, run.trainer, run.cfg])}


def _why_refused(run: Run) -> str:
    from dassl.data.datasets import DATASET_REGISTRY
    from dassl.engine import TRAINER_REGISTRY

    from ccli.trainers.common.base import FeatureTrainer
    from ccli.trainers.common.checks import check_trainable

    cfg, trainer = setup_cfg(arguments(run.argv)), TRAINER_REGISTRY.get(run.trainer)
    try:
        check_trainable(run.dataset, DATASET_REGISTRY.get(cfg.DATASET.NAME), trainer)
    except CcliError:
        return f"{run.dataset} is for evaluation only; give it to --targets, beside its source"
    try:
        if issubclass(trainer, FeatureTrainer):
            trainer.check_cfg(object.__new__(trainer), cfg)  # it needs nothing but the class
    except SettingError as error:
        return str(error)
    except CcliError:  # of the data: left to the run, which keeps its traceback
        pass
    return ""


def _wanted(call: Run, drawn: dict[tuple, object]):
    """(encoder, paths, views) of one call of train.py; `drawn` keeps the data set, or its error, of the call before."""
    from dassl.engine import TRAINER_REGISTRY

    from ccli.trainers.common.base import FeatureTrainer
    from ccli.trainers.common.feature_source import ImageSource, build_quietly

    cfg = setup_cfg(arguments(call.argv))
    trainer = TRAINER_REGISTRY.get(cfg.TRAINER.NAME)
    if cfg.DATASET.NAME == "FeatureBundle":
        if not Path(cfg.DATASET.BUNDLE).is_file():
            read_bundle(cfg.DATASET.BUNDLE)  # which says what is wrong
        return
    key = (str(cfg.DATASET), cfg.SEED)
    if key not in drawn:
        drawn.clear()
        try:
            drawn[key] = build_quietly(cfg)
        except CcliError as error:
            drawn[key] = error
    if isinstance(drawn[key], CcliError):
        raise drawn[key]
    if not issubclass(trainer, FeatureTrainer):
        return
    source = ImageSource(cfg, drawn[key], torch.device("cpu"))
    for paths, views in source.wanted(trainer, "--eval-only" not in call.argv):
        yield source.encoder, paths, views


def shares(missing: Sequence[Missing], nodes: int) -> list[Missing]:
    """Ranges of the images, in whole batches: about four a node, so that fast and slow nodes end together."""
    found = []
    for item in missing:
        least = SHARE // (item.views[0] if item.views else 1)
        size = max(least, math.ceil(len(item.paths) / (4 * max(1, nodes))))
        size = math.ceil(size / BATCH) * BATCH
        found += [item._replace(paths=item.paths[k : k + size]) for k in range(0, len(item.paths), size)]
    return found


def encode(missing: Missing, lock: str) -> None:
    """Encode some images into the store that their run reads; under `lock`, beside others that encode other images."""
    from dassl.data.datasets import DATASET_REGISTRY

    from ccli.trainers.common.feature_source import ImageSource

    cfg = setup_cfg(arguments(missing.run.argv))
    decoding = getattr(DATASET_REGISTRY.get(cfg.DATASET.NAME), "decoding", BENCHMARK)
    device = torch.device("cuda" if torch.cuda.is_available() and cfg.USE_CUDA else "cpu")
    encoder = ImageSource(cfg, SimpleNamespace(classnames=(), decoding=decoding), device, lock).encoder
    if missing.views:
        encoder.views(missing.paths, *missing.views)
    else:
        encoder.images(missing.paths)
