"""Work in threads: in order, one core each, and never far ahead of what was asked for."""

import threading
import time

import pytest
import torch

from ccli.features import parallel
from ccli.features.parallel import in_threads


def test_blocks_come_in_order_whatever_ends_first():
    def work(rows):
        time.sleep(0.02 / (1 + rows[0]))  # the first take longest
        return torch.tensor([[float(k), 2.0 * k] for k in rows])

    blocks = [list(range(k, min(k + 10, 47))) for k in range(0, 47, 10)]
    found = list(in_threads(work, blocks, 3))
    assert [rows for rows, _ in found] == blocks
    everything = torch.cat([features for _, features in found])
    assert torch.equal(everything, torch.arange(47.0)[:, None] * torch.tensor([1.0, 2.0]))


def test_a_thread_uses_one_core_and_afterwards_all_are_used_again():
    seen = []
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        list(
            in_threads(lambda rows: (seen.append(torch.get_num_threads()), torch.zeros(len(rows), 1))[1], [[0], [1]], 1)
        )
        assert seen == [1, 1] and torch.get_num_threads() == 2
        later = []
        thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert later == [2]
    finally:
        torch.set_num_threads(before)


def test_an_error_comes_through_and_ends_the_work(monkeypatch):
    monkeypatch.setattr(parallel, "_cores", lambda: 2)
    done, before = [], torch.get_num_threads()

    def work(rows):
        done.append(rows)
        if rows == [3]:
            raise ValueError("no such picture")
        return torch.zeros(1, 1)

    with pytest.raises(ValueError, match="no such picture"):
        list(in_threads(work, ([k] for k in range(1000)), 1))
    assert len(done) < 15 and torch.get_num_threads() == before


def test_no_more_is_begun_than_the_threads_need(monkeypatch):
    monkeypatch.setattr(parallel, "_cores", lambda: 2)
    asked = []

    def blocks():
        for k in range(100):
            asked.append(k)
            yield [4 * k, 4 * k + 1, 4 * k + 2, 4 * k + 3]

    results = in_threads(lambda rows: torch.zeros(len(rows), 1), blocks(), 2)
    next(results)
    assert len(asked) <= 4
    results.close()
    assert len(asked) <= 4
