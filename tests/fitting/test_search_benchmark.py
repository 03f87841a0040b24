"""The benchmark of selections, in small: it ends, and both sides agree."""

import re

import torch

from benchmarks import search


def test_both_sides_agree(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["search", "--small", "--threads", str(torch.get_num_threads())])
    search.main()
    out = capsys.readouterr().out
    assert re.findall(r"\| (\d+ of \d+) +\|", out) == ["0 of 4000", "0 of 5", "0 of 5", "0 of 7"]
