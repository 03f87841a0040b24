"""The benchmarks of the text tower, in small: they end, and both sides agree."""

import re

import pytest

from benchmarks import coop, text


@pytest.mark.parametrize(
    ("benchmark", "args", "lines"),
    [(text, ["--concepts", "20"], 2), (coop, ["--classes", "3"], 4)],
    ids=["text", "coop"],
)
def test_both_sides_agree(benchmark, args, lines, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [benchmark.__name__, "--architecture", "demo-clip", "--repeats", "1", *args])
    benchmark.main()
    out = capsys.readouterr().out
    measured = re.findall(r"32 tokens [\d.]+ s, (?:shared and )?cut [\d.]+ s: [\d.]+ times as fast; ", out)
    assert len(measured) == lines
    values = re.findall(r"(?:logits|features) differ by ([\d.e+-]+)", out)
    assert len(values) == lines and max(map(float, values)) < 1e-5
    # of so few classes the parts of the gradient nearly cancel, and float32's rounding is a larger share of it
    assert all(float(value) < 1e-3 for value in re.findall(r"gradients by ([\d.e+-]+)", out))


def test_the_names_are_those_of_caltech101():
    names = coop.NAMES
    assert len(set(names)) == 100 and "body of a cougar cat" in names and max(map(len, names)) < 30
