"""Independent work in threads, with results in order."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch


def in_threads(
    work: Callable[[list[int]], torch.Tensor], blocks: Iterable[list[int]], size: int
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Each block of rows with the features that `work` makes of it, in the order of the blocks.

    `work` gets parts of at most `size` rows and gives features [len(part), D]. One thread does the whole of a part, and
    operators in it use no further threads: no core waits for another one, and results do not depend on their number.
    """
    cores, before = _cores(), torch.get_num_threads()
    pool = ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,))
    waiting: deque[tuple[list[int], list[Future]]] = deque()
    try:
        for block in blocks:
            waiting.append((block, [pool.submit(work, block[k : k + size]) for k in range(0, len(block), size)]))
            while sum(len(parts) for _, parts in waiting) >= 2 * cores + len(waiting[0][1]):
                yield _finished(*waiting.popleft())
        while waiting:
            yield _finished(*waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)  # later threads inherit the setting of these


def _finished(block: list[int], parts: list[Future]) -> tuple[list[int], torch.Tensor]:
    return block, torch.cat([part.result() for part in parts])


def _cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
