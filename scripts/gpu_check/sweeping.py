"""(e) The paper's grid of CCLI; (g) four processes on one GPU against one at a time."""

import threading
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.generated import bundle
from benchmarks.paper_grid import NAMES, sizes
from benchmarks.processes import sweep_arguments
from ccli.features.bundles import write_bundle
from ccli.results.records import RECORD, read_record
from ccli.sweeps.config import import_all
from ccli.sweeps.plan import PAPER_SHOTS, Grid
from gpu_check.figures import Figures
from gpu_check.setting import Setting

WANTED = 300  # seconds of the paper's grid


def paper_grid(setting: Setting, figures: Figures) -> None:
    """11 data sets, 5 numbers of shots, 3 seeds; of a grid that does not end in time the runs are counted."""
    shots, seeds = setting.size((PAPER_SHOTS, [1, 2, 3]), ([1], [1]))
    grid = Grid([str(path) for path in _bundles(setting, NAMES)], ["CCLI"], shots, seeds, output=setting.work / "grid")
    runs, memory = len(NAMES) * len(shots) * len(seeds), CardMemory(setting)
    try:
        figures.add("paper's grid", sweep(setting, grid), "s", at_most=WANTED)
    finally:
        done = len(list(grid.output.rglob(RECORD)))
        figures.add("paper's grid: runs done", done, f"of {runs}", at_least=runs)
        figures.add("paper's grid: peak memory of the card", memory.peak(), "MB")


def jobs(setting: Setting, figures: Figures) -> None:
    """The same small grid one run at a time and in four processes."""
    names = setting.size(("OxfordPets", "DescribableTextures", "Caltech101", "UCF101"), ("OxfordPets",))
    trainers, shots = setting.size((["TaskRes", "GDA", "CCLI"], [1, 4, 16]), (["GDA"], [1, 2]))
    paths, took, grids = [str(path) for path in _bundles(setting, names)], {}, {}
    options = ["OPTIM.MAX_EPOCH", setting.size("50", "1")]
    for count in setting.size((1, 4), (1, 2)):
        grids[count] = Grid(paths, trainers, shots, [1], output=setting.work / f"jobs{count}", options=options)
        memory = CardMemory(setting)
        took[count] = sweep(setting, grids[count], "--jobs", str(count))
        figures.add(f"--jobs {count}", took[count], "s")
        figures.add(f"--jobs {count}: peak memory of the card", memory.peak(), "MB")
    one, several = grids
    figures.add(f"times as fast with --jobs {several}", took[one] / took[several], at_least=setting.size(1, None))
    figures.add("runs with other predictions", _differing(*(grid.output for grid in grids.values())), at_most=0)


def sweep(setting: Setting, grid: Grid, *flags: str) -> float:
    """Seconds of `ccli sweep`. Raises TimeoutError or RuntimeError, as `Setting.command`."""
    return setting.once(lambda: setting.command("sweep", *sweep_arguments(grid), *flags, *grid.options))


def _bundles(setting: Setting, names: Sequence[str]) -> list[Path]:
    """Bundles of the data sets' sizes, made at the first call; ImageNet's has no validation set."""
    import_all("ccli.datasets")
    folder = setting.work / "bundles"
    folder.mkdir(exist_ok=True)
    for name in names:
        if not (folder / f"{name}.npz").exists():
            full = sizes(name)
            write_bundle(folder / f"{name}.npz", bundle(*setting.size(full, (4, 2, full[2] and 1, 8, 20, 16))))
    return [folder / f"{name}.npz" for name in names]


def _differing(a: Path, b: Path) -> int:
    """How many runs below two folders, of which both hold the same, predict otherwise."""
    found = [path.relative_to(a).parent for path in a.rglob(RECORD)]
    return sum(read_record(a / x)["predictions"] != read_record(b / x)["predictions"] for x in found)


class CardMemory:
    """Peak memory in use on the whole card, in MB, looked at ten times per second; that of the process on a CPU."""

    def __init__(self, setting: Setting) -> None:
        self._memory, self._most, self._over = setting.memory(), 0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True) if setting.device == "cuda" else None
        if self._thread:
            self._thread.start()

    def peak(self) -> float:
        if self._thread is None:
            return self._memory.peak()
        self._over.set()
        self._thread.join()
        return self._most / 1e6

    def _look(self) -> None:
        while not self._over.wait(0.1):
            free, total = torch.cuda.mem_get_info()
            self._most = max(self._most, total - free)
