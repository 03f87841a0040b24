"""CoOp's way to average over seeds: read the accuracy from each seed's log.txt."""

import os
import re
import sys

import numpy as np

from ccli.errors import CcliError

TRAINED = ("Finish training", "Finished training")  # Dassl's line, and that of its first versions
TESTED = ("=> result",)


def subfolders(directory: str, prefix: str = "") -> list[str]:
    """Visible sub-folders' names that start with prefix, sorted. Raises CcliError where there is no such folder."""
    if not os.path.isdir(directory):
        raise CcliError(f"no such folder: {directory}; give the folder that holds the runs")
    names = sorted(name for name in os.listdir(directory) if name.startswith(prefix) and not name.startswith("."))
    return [name for name in names if os.path.isdir(os.path.join(directory, name))]


def read_log(path: str, keyword: str, end_signals: tuple[str, ...]) -> float | None:
    """The last `* keyword: N%` after one of the end signals (percent), or None where there is none."""
    pattern = re.compile(rf"\* {re.escape(keyword)}: ([-+]?\d+\.?\d*(?:[eE][-+]?\d+)?)%")
    ended, value = False, None
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            ended = ended or line.strip() in end_signals
            match = pattern.search(line)
            if ended and match:
                value = float(match.group(1))
                if not 0 <= value <= 100:
                    raise CcliError(f"{path}: {keyword} is {value:g} %, which cannot be; repeat the run")
    return value


def seed_result(folder: str, keyword: str, end_signals: tuple[str, ...]) -> tuple[str, float] | None:
    """(log file, value) of one seed's folder: log.txt, or, where that has no result, the latest log that has one.

    Dassl never overwrites a log.txt: a run repeated in the same folder writes log.txt-YEAR-MONTH-DAY-H-M-S.
    """
    later = sorted((name for name in os.listdir(folder) if name.startswith("log.txt-")), reverse=True)
    paths = [os.path.join(folder, name) for name in ["log.txt", *later]]
    values = ((path, read_log(path, keyword, end_signals)) for path in paths if os.path.isfile(path))
    return next((found for found in values if found[1] is not None), None)


def summarise(directory: str, keyword: str, end_signals: tuple[str, ...], ci95: bool) -> float:
    """Print one experiment's values and their mean in CoOp's format; return the mean in percent.

    Raises CcliError if no seed of the folder has a result.
    """
    print(f"Parsing files in {directory}")
    values = []
    for name in subfolders(directory, "seed"):
        folder = os.path.join(directory, name)
        result = seed_result(folder, keyword, end_signals)
        if result is None:
            print(f"warning: {folder} has no result and is left out of the mean; finish its run", file=sys.stderr)
            continue
        print(f"file: {result[0]}. {keyword}: {result[1]:.2f}%. ")
        values.append(result[1])
    if not values:
        raise CcliError(
            f"nothing found in {directory}: no seed*/log.txt has a line '* {keyword}: N%' after '{end_signals[0]}'; "
            f"finish the runs, use --test-log for runs that only tested, or --multi-exp for a folder of experiments"
        )
    spread = 1.96 * np.std(values) / np.sqrt(len(values)) if ci95 else np.std(values)
    print(f"===\nSummary of directory: {directory}")
    print(f"* {keyword}: {np.mean(values):.2f}% +- {spread:.2f}%\n===")
    return float(np.mean(values))


def print_means(directory: str, keyword="accuracy", tested=False, several=False, ci95=False) -> None:
    """Print the mean of one experiment, or of each experiment in a folder and their average.

    Args:
        directory: holds seed1, seed2, ...; if `several`, folders that do.
        keyword: the line of the log to read.
        tested: whether the runs only tested, so that their logs have no end of training.
        ci95: print a 95 % confidence interval instead of the population standard deviation.

    Raises:
        CcliError: no such folder, or an experiment without a result.
    """
    end_signals = TESTED if tested else TRAINED
    experiments = [os.path.join(directory, name) for name in subfolders(directory)] if several else [directory]
    if not experiments:
        raise CcliError(f"nothing found in {directory}: no sub-folders; leave --multi-exp out or give their parent")
    means = [summarise(experiment, keyword, end_signals, ci95) for experiment in experiments]
    if several:
        print(f"Average performance\n* {keyword}: {np.mean(means):.2f}%")
