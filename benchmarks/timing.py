"""Seconds of two or more ways to do the same, taken in turn so that a noisy machine is as noisy to each."""

import time
from collections.abc import Callable, Sequence
from typing import Any


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of a call, and its result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def fastest(rounds: int, works: Sequence[Callable[[], Any]]) -> tuple[list[float], list[Any]]:
    """The least seconds of each work over `rounds`, and the results of the first round."""
    found = [[timed(work) for work in works] for _ in range(rounds)]
    return [min(seconds for seconds, _ in column) for column in zip(*found)], [result for _, result in found[0]]
