"""What a sweep runs: a grid of data sets, trainers, shots, seeds and options, as calls of train.py."""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ccli import configs, plugins
from ccli.errors import CcliError, nearest
from ccli.features.image_folder import name_of, place_of
from ccli.results.methods import METHODS, method_of
from ccli.results.tables import shots_name

CONFIGS = Path(configs.__file__).parent
FOLDERS = sorted(path.name for path in (CONFIGS / "trainers").iterdir())
TRAINERS = (*METHODS, *(name for name in FOLDERS if name not in METHODS))  # in the order of tables and legends
STAND_FOR = {
    "feature_bundle": "bundle: give the path of yours (.npz)", "folder": "folder of pictures: give the path of yours",
}  # fmt: skip
PAPER_SHOTS = (1, 2, 4, 8, 16)
OWN_FLAGS = {
    "DATASET.NUM_SHOTS": "--shots", "SEED": "--seeds", "TRAINER.NAME": "--trainers", "OUTPUT_DIR": "--output",
    "DATASET.ROOT": "--root", "DATASET.BUNDLE": "--datasets", "DATASET.NAME": "--datasets", "CFG_NAME": "--variant",
    "DATASET.FOLDER": "--datasets",
}  # fmt: skip
Variant = tuple[str, tuple[str, ...]]  # (folder, KEY VALUE pairs)


class Run(NamedTuple):
    """One call of train.py, and the evaluations that follow it."""

    folder: Path  # its output folder
    argv: tuple[str, ...]  # train.py's arguments
    name: str  # such as "dtd, CCLI, rn50, 16 shots, seed 1"
    trainer: str
    dataset: str
    cfg: str  # the yaml's stem, and the variant
    shots: int
    seed: int
    tests: tuple[Run, ...] = ()

    def calls(self) -> tuple[Run, ...]:
        """The run and its evaluations, in their order."""
        return (self._replace(tests=()), *self.tests)

    def source(self) -> str:
        """What its data set is given by: a bundle, a folder of pictures, or a yaml."""
        keys = ("DATASET.BUNDLE", "DATASET.FOLDER", "--dataset-config-file")
        key = next(key for key in keys if key in self.argv)
        return self.argv[self.argv.index(key) + 1]


@dataclass
class Grid:
    """What is varied. `options` are KEY VALUE pairs, where a value may be several, separated by commas."""

    datasets: Sequence[str]  # yaml stems, or paths of bundles and of folders of pictures
    trainers: Sequence[str]
    shots: Sequence[int]
    seeds: Sequence[int]
    cfg: str = ""  # the trainers' yaml; demo_clip on concept_shapes and rn50 elsewhere where empty
    root: str = "data"
    output: Path = Path("output")
    targets: Sequence[str] = ()  # data sets that every run is tested on, too
    options: Sequence[str] = ()
    variant: str = ""  # the folder of runs with other options; made of them where empty
    deterministic: bool = False  # whether each run is given --deterministic
    variants: list[Variant] = field(init=False)

    def __post_init__(self) -> None:
        self.variants = _variants(self.options, self.variant)


def runs_of(grid: Grid) -> list[Run]:
    """Every run of a grid, once; what shares features follows one another.

    Raises:
        CcliError: an unknown data set, trainer or configuration, or options that are not pairs.
    """
    runs: dict[Run, None] = {}
    for dataset in _each_once(grid.datasets):
        is_bundle = dataset.endswith(".npz")
        for trainer in grid.trainers:
            if is_bundle and method_of(trainer).needs_text_tower:
                print(f"{trainer} is left out on {dataset}: a bundle has no text tower", file=sys.stderr)
                continue
            for shots, seed, variant in itertools.product(grid.shots, grid.seeds, grid.variants):
                runs[_run(grid, dataset, trainer, shots, seed, variant)] = None
    return list(runs)


def _each_once(names: Sequence[str]) -> list[str]:
    """Data sets without those that are given twice, in other words too (./a.npz and a.npz)."""
    files = {(data_set(name)[0], os.path.realpath(Path(name).expanduser())): name for name in reversed(names)}
    return [name for name in dict.fromkeys(names) if name in files.values()]


def claimed_twice(runs: Sequence[Run]) -> dict[Path, list[Run]]:
    """Folders that several different calls of train.py would write to, with these calls."""
    claims: dict[Path, list[Run]] = {}
    for run in runs:
        for call in run.calls():
            claims.setdefault(call.folder, []).append(call)
    return {folder: claimants for folder, claimants in claims.items() if len(claimants) > 1}


def data_set(name: str) -> tuple[str, Path, tuple[str, ...]]:
    """(name in folders and tables, yaml, further options) of a yaml's stem, or the path of a bundle or of pictures.

    Whether the bundle or the folder is there is for its runs to say: the others go on without it.

    Raises:
        CcliError: there is no such yaml.
    """
    folder = CONFIGS / "datasets"
    if name.endswith(".npz"):
        path = Path(name).expanduser().absolute()
        return path.stem, folder / "feature_bundle.yaml", ("DATASET.BUNDLE", str(path))
    if name in STAND_FOR:
        raise CcliError(f"{name} stands for any {STAND_FOR[name]} in its place")
    known = sorted(path.stem for path in folder.glob("*.yaml") if path.stem not in STAND_FOR)
    if name in known:
        return name, folder / f"{name}.yaml", ()
    if Path(name).name != name or Path(name).expanduser().is_dir():
        place = place_of(name, "")
        return name_of(place), folder / "folder.yaml", ("DATASET.FOLDER", str(place))
    raise CcliError(
        f"unknown data set {name!r}; there are {', '.join(known)}, and paths of bundles (.npz) and of folders of "
        f"pictures.{nearest(name, known)}"
    )


def configuration(trainer: str, cfg: str) -> Path:
    """A trainer's yaml. Raises CcliError where there is no such trainer or yaml."""
    known = [*FOLDERS, *plugins.trainers()]
    if trainer not in known:
        raise CcliError(f"unknown trainer {trainer!r}; there are {', '.join(known)}.{nearest(trainer, known)}")
    folders = [CONFIGS / "trainers" / trainer, *plugins.config_folders(trainer)]
    paths = {path.stem: path for folder in folders for path in sorted(folder.glob("*.yaml"))}
    if cfg not in paths:
        raise CcliError(f"{trainer} has no configuration {cfg!r}; it has {', '.join(paths)}.{nearest(cfg, paths)}")
    return paths[cfg]


def _run(grid: Grid, dataset: str, trainer: str, shots: int, seed: int, variant: Variant) -> Run:
    stem, yaml, _ = data_set(dataset)
    shapes = stem.startswith("concept_shapes") and yaml.stem != "folder"
    cfg = grid.cfg or ("demo_clip" if shapes else "rn50")
    if trainer == "ZeroshotCLIP" and not (CONFIGS / "trainers" / trainer / f"{cfg}.yaml").exists():
        cfg = cfg.rpartition("_")[0] or cfg  # it has one yaml a backbone: rn50 for rn50_plain
    _refuse_namesakes(dataset, grid.targets)
    call_on = partial(_call, grid, trainer, cfg, shots, seed, variant)
    run = call_on(dataset)
    evaluation = ("--eval-only", "--model-dir", str(run.folder))
    tests = [call_on(target, evaluation, f"from_{stem}") for target in _each_once(grid.targets)]
    return run._replace(tests=tuple(tests))


def _refuse_namesakes(dataset: str, targets: Sequence[str]) -> None:
    """Raise CcliError where a target is another file, or folder, of the data set's name: no table could tell them."""
    stem, _, given = data_set(dataset)
    for target in targets:
        name, _, other = data_set(target)
        if name == stem and [os.path.realpath(x) for x in given] != [os.path.realpath(x) for x in other]:
            raise CcliError(f"target {target} is called {stem}, as {dataset} is; give one of them another name")


def _call(
    grid: Grid, trainer: str, cfg: str, shots: int, seed: int, variant: Variant, dataset: str,
    further: tuple[str, ...] = (), place: str = "",
) -> Run:  # fmt: skip
    stem, yaml, place_given = data_set(dataset)
    folder = Path(grid.output).absolute() / stem / trainer / f"{cfg}_{shots}shots" / variant[0] / place / f"seed{seed}"
    named = ("CFG_NAME", f"{cfg}/{variant[0]}") if variant[0] else ()
    strict = ("--deterministic",) if grid.deterministic else ()
    argv = (
        "--skip-done", *strict, "--root", grid.root, "--seed", str(seed), "--trainer", trainer,
        "--dataset-config-file", str(yaml), "--config-file", str(configuration(trainer, cfg)),
        "--output-dir", str(folder), *further, "DATASET.NUM_SHOTS", str(shots), *named, *place_given, *variant[1],
    )  # fmt: skip
    title = "/".join(filter(None, (cfg, variant[0])))
    words = [stem, trainer, title, shots_name(shots), f"seed {seed}", place.replace("_", " ", 1)]
    return Run(folder, argv, ", ".join(filter(None, words)), trainer, stem, title, shots, seed)


def _variants(options: Sequence[str], name: str) -> list[Variant]:
    """The options' combinations; one without a folder where there are none."""
    if len(options) % 2:
        raise CcliError(f"options come as KEY VALUE pairs, but {options[-1]!r} stands alone")
    if name and (Path(name).is_absolute() or ".." in Path(name).parts or not Path(name).parts):
        raise CcliError(f"--variant {name}: give the name of a folder below the runs', such as top5")
    keys, values = options[::2], [_split(value) for value in options[1::2]]
    for key in keys:
        if key in OWN_FLAGS:
            raise CcliError(f"{key} is what {OWN_FLAGS[key]} sets; leave it out of the KEY VALUE pairs")
        if keys.count(key) > 1:
            raise CcliError(f"{key} is given twice; separate several values by commas: {key} A,B")
    variants = []
    for chosen in itertools.product(*values):
        made = "_".join(f"{short}-{_safe(value)}" for short, value in zip(_short(keys), chosen))
        pairs = tuple(x for pair in zip(keys, chosen) for x in pair)
        grid = any(len(several) > 1 for several in values)
        variants.append(("-".join(filter(None, (name, made))) if grid or not name else name, pairs))
    if len({folder for folder, _ in variants}) < len(variants):
        raise CcliError(f"two combinations of {', '.join(keys)} would have one folder; sweep one by one (--variant)")
    return variants


def _split(value: str) -> list[str]:
    """At commas, but for those in brackets or quotes: "1,2" is two values and "(0.5,1)" one."""
    parts = re.findall(r"""(?:\([^()]*\)|\[[^\[\]]*\]|"[^"]*"|'[^']*'|[^,])+""", value)
    return [part.strip() for part in parts] or [value]


def _short(keys: Sequence[str]) -> list[str]:
    """The keys without their first parts, as far as they stay apart."""
    last = [key.rpartition(".")[2] for key in keys]
    return [key if last.count(short) > 1 else short for key, short in zip(keys, last)]


def _safe(value: str) -> str:
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", value).strip("_.") or "empty"
