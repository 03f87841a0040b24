"""Which images the runs of a sweep still have to encode."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from types import SimpleNamespace
from typing import NamedTuple

import torch
from tqdm import tqdm

from ccli.errors import CcliError

from .execute import train_script
from .plan import Run


class Missing(NamedTuple):
    """Images without features."""

    run: Run  # one of those that want them
    paths: list[str]
    views: tuple  # () for the images as they are, or (number of views, their share of the area)


def missing_images(runs: Sequence[Run]) -> tuple[list[Missing], dict[str, str]]:
    """What is to be encoded before all runs can start, and data set -> why that is not known (its runs will fail)."""
    wanted: dict[tuple, tuple[Run, object, dict[str, None]]] = {}  # (store, views) -> run, store, paths
    problems: dict[str, str] = {}
    drawn: dict[tuple, object] = {}
    calls = sorted(
        (call for run in runs for call in run.calls()), key=lambda call: (call.dataset, call.shots, call.seed)
    )
    for call in tqdm(calls, desc="Looking for features", leave=False, disable=len(calls) < 100 or None):
        if call.dataset in problems:
            continue
        try:
            for store, paths, views in _wanted(call, drawn):
                wanted.setdefault((id(store), views), (call, store, {}))[2].update(dict.fromkeys(paths))
        except CcliError as error:
            problems[call.dataset] = str(error)
    found = [Missing(call, store.missing(list(paths), *key[1]), key[1]) for key, (call, store, paths) in wanted.items()]
    return [item for item in found if item.paths], problems


def _wanted(call: Run, drawn: dict[tuple, object]):
    """(store, paths, views) of one call of train.py; `drawn` keeps the data set of the call before."""
    from ccli.trainers.base import FeatureTrainer
    from ccli.trainers.sources import ImageSource
    from dassl.data.datasets import build_dataset
    from dassl.engine import TRAINER_REGISTRY

    train = train_script()
    cfg = train.setup_cfg(train.arguments(list(call.argv)))
    trainer = TRAINER_REGISTRY.get(cfg.TRAINER.NAME)
    if cfg.DATASET.NAME == "FeatureBundle" or not issubclass(trainer, FeatureTrainer):
        return
    key = (str(cfg.DATASET), cfg.SEED)
    if key not in drawn:
        drawn.clear()
        with redirect_stdout(StringIO()):
            drawn[key] = build_dataset(cfg)
    source = ImageSource(cfg, drawn[key], torch.device("cpu"))
    for paths, views in source.wanted(trainer):
        yield source.store, paths, views


def encode(missing: Missing, lock: str) -> None:
    """Encode some images into the store that their run reads; under `lock`, beside others that encode other images."""
    from ccli.trainers.sources import ImageSource

    from ccli.features import FeatureStore

    train = train_script()
    cfg = train.setup_cfg(train.arguments(list(missing.run.argv)))
    device = torch.device("cuda" if torch.cuda.is_available() and cfg.USE_CUDA else "cpu")
    shared = ImageSource(cfg, SimpleNamespace(classnames=()), device).store
    store = FeatureStore(shared.clip, shared.folder, shared.root, lock)
    if missing.views:
        store.views(missing.paths, *missing.views)
    else:
        store.images(missing.paths)
