"""(b) All trainers on the GPU against the CPU, and twice with the same bits; (e) CCLI at ImageNet's size."""

import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.generated import bundle
from benchmarks.processes import own_seconds
from ccli.features.bundles import write_bundle
from ccli.results.records import read_record
from ccli.sweeps.plan import TRAINERS, Run
from ccli.sweeps.run import same_bits
from gpu_check.figures import Figures
from gpu_check.setting import Setting, carry_out

SHAPES = "concept_shapes"
SMALL = ("FEATURES.CROPS", "0", "FEATURES.VIEWS", "1")  # the miniature encodes little
LEAST = 5  # seconds: no run starts on the CPU with less


def short(setting: Setting) -> tuple[str, ...]:
    """Options of runs that are compared: few epochs."""
    return ("OPTIM.MAX_EPOCH", setting.size("20", "1"), *(SMALL if setting.miniature else ()))


def on_pictures(setting: Setting, figures: Figures) -> None:
    """Every trainer on concept_shapes."""
    _ = setting.data
    shots = setting.size(4, 2)
    runs = {on: setting.runs(SHAPES, TRAINERS, shots, "pictures", on, *short(setting)) for on in ("gpu", "cpu")}
    both(setting, figures, runs["gpu"], runs["cpu"])


def on_large_bundle(setting: Setting, figures: Figures) -> None:
    """Every trainer that needs no text tower on a bundle of ImageNet's size, LinearProbe last: it fits on the CPU."""
    path, shots = large_bundle(setting), setting.size(16, 2)
    trainers = [name for name in TRAINERS if name not in ("CoOp", "LinearProbe")]
    options = ("PROTOCOL", "fixed", "OPTIM.MAX_EPOCH", setting.size("5", "1"))
    for names in (trainers, ["LinearProbe"]):
        runs = {on: setting.runs(path, names, shots, "large", on, *options) for on in ("gpu", "cpu")}
        both(setting, figures, runs["gpu"], runs["cpu"])


def both(setting: Setting, figures: Figures, on_gpu: Sequence[Run], on_cpu: Sequence[Run]) -> None:
    """Seconds and peak memory of each run on the GPU, then how many predictions the CPU makes otherwise.

    Each device encodes by itself.
    """
    setting.use_store("gpu")
    done = {run.trainer for run in on_gpu if measure(setting, figures, run)}
    setting.use_store("cpu")
    for run, other in zip(on_gpu, on_cpu, strict=True):
        if run.trainer in done:
            try:
                _compare(setting, figures, run, other)
            except Exception as error:
                figures.fail(f"{run.trainer} on the CPU", error)


def _compare(setting: Setting, figures: Figures, run: Run, other: Run) -> None:
    """Carry out the other run, on the CPU, and count the predictions that differ."""
    if setting.deadline.left() < LEAST:
        raise TimeoutError("no time is left to compare")
    carry_out(other)
    found, expected = (read_record(one.folder)["predictions"] for one in (run, other))
    count, of = sum(a != b for a, b in zip(found, expected, strict=True)), len(expected)
    figures.add(f"{run.trainer}: other predictions on the CPU", count, f"of {of}", at_most=max(1, of // 200))


def measure(setting: Setting, figures: Figures, run: Run) -> bool:
    """Carry out a run on the GPU; whether that succeeded."""
    memory = setting.memory()
    try:
        carry_out(run)
    except Exception as error:
        figures.fail(run.trainer, error)
        return False
    figures.add(f"{run.trainer}: fit, select, test", own_seconds(read_record(run.folder)), "s")
    figures.add(f"{run.trainer}: peak memory", memory.peak(), "MB")
    return True


def same_bits_twice(setting: Setting, figures: Figures) -> None:
    """Every trainer twice with --deterministic, the features encoded twice, too."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before cuBLAS starts
    _ = setting.data
    try:
        for name in TRAINERS:
            try:
                count = differing(*(_strict(setting, name, place) for place in ("first", "second")))
                figures.add(f"{name}: the same bits twice", count == 0, "(1: yes)", at_least=1)
            except Exception as error:
                figures.fail(f"{name} with --deterministic", error)
    finally:
        same_bits(False)


def _strict(setting: Setting, trainer: str, place: str) -> Path:
    setting.use_store(f"strict_{place}")
    shots, name = setting.size(4, 2), f"strict_{place}"
    (run,) = setting.runs(SHAPES, [trainer], shots, name, "gpu", *short(setting), strict=True)
    carry_out(run)
    return run.folder


def differing(a: Path, b: Path) -> int:
    """How many of two things differ between two runs: the classifier's bytes and the predictions."""
    weights = [(folder / "classifier.safetensors").read_bytes() for folder in (a, b)]
    predictions = [read_record(folder)["predictions"] for folder in (a, b)]
    return (weights[0] != weights[1]) + (predictions[0] != predictions[1])


def ccli_at_full_size(setting: Setting, figures: Figures) -> None:
    """CCLI with 1000 classes and 16 shots as it is run by default, alpha chosen by cross-validation."""
    (run,) = setting.runs(large_bundle(setting), ["CCLI"], setting.size(16, 2), "ccli", "gpu")
    measure(setting, figures, run)


def large_bundle(setting: Setting) -> Path:
    """A bundle of ImageNet's size, made at the first call: 1000 classes, 16 shots, 50,000 test images."""
    path = setting.work / "imagenet_size.npz"
    if not path.exists():
        sizes = setting.size((1000, 16, 0, 50_000, 2000, 1024), (12, 4, 0, 48, 40, 32))
        write_bundle(path, bundle(*sizes))
    return path
