"""The experiment on the number of concepts per class: its tables, and results that are kept."""

import json

import numpy as np
import pytest
from helpers import bundle_file
from PIL import Image

from experiments import concepts_per_class as experiment


def printed(monkeypatch, capsys, *argv) -> dict[tuple[str, ...], list[str]]:
    """The cells of the printed tables by the words before the first number."""
    monkeypatch.setattr("sys.argv", ["concepts_per_class", *map(str, argv)])
    assert experiment.main() == 0
    rows = [[x.strip() for x in line.strip("| ").split("|")] for line in capsys.readouterr().out.splitlines()]
    return {tuple(x for x in row[:2] if x[:1].isalpha()): row[1:] for row in rows if len(row) > 1}


def kept(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_leads_are_means_over_cells_and_what_is_kept_is_not_made_again(tmp_path, monkeypatch, capsys):
    bundle, file = bundle_file(tmp_path), tmp_path / "kept.jsonl"
    asked = (bundle, "--shots", 2, 4, "--seeds", 1, 2, "--most", 2, "--root", tmp_path, "--kept", file)
    found = printed(monkeypatch, capsys, *asked)
    results = kept(file)
    assert [(one["cell"], one["seed"]) for one in results] == [(f"tiny, {n}", k) for n in (2, 4) for k in (1, 2)]
    means = {
        (cell, name): np.mean([one["rows"][name] for one in results if one["cell"] == cell], 0)
        for cell in ("tiny, 2", "tiny, 4") for name in results[0]["rows"]
    }  # fmt: skip
    for (cell, name), values in means.items():
        assert found[cell, name][1 : 1 + len(values)] == [f"{x:.2f}" for x in values]
    for name in ("text", "images", "random", "images, all sizes"):
        leads = [means[cell, "cross-modal"] - means[cell, name] for cell in ("tiny, 2", "tiny, 4")]
        shown = [float(x) for cell in found[(name,)] for x in cell.strip(")").split(" (")]
        assert shown == pytest.approx(np.stack([np.mean(leads, 0), np.min(leads, 0)], 1).ravel(), abs=0.051)

    def refit(*_):
        raise AssertionError("made again")

    with open(file, "a") as end:
        end.write('{"cell": "tiny, 2", "se')  # the process was killed here
    monkeypatch.setattr(experiment, "rows_of", refit)
    assert printed(monkeypatch, capsys, *asked) == found
    assert printed(monkeypatch, capsys, "--kept", file) == found


def test_beside_zero_shot_it_is_compared_with_the_dense_form(tmp_path, monkeypatch, capsys):
    bundle, file = bundle_file(tmp_path), tmp_path / "kept.jsonl"
    found = printed(
        monkeypatch, capsys, bundle, "--shots", 4, "--seeds", 1, "--most", 2, "--names", "--root", tmp_path,
        "--kept", file, "--to", tmp_path / "table.md", "--picture", tmp_path / "curves.png",
    )  # fmt: skip
    rows = {name: values[0] for name, values in kept(file)[0]["rows"].items()}
    ours = rows["sparse, all chosen"]
    differences = [f"{ours - rows['dense']:+.2f}", f"{ours - rows['zero-shot']:+.2f}"]
    assert found[("tiny, 4",)] == [f"{ours:.2f}", *differences] and found[("mean of 1",)][1:] == differences
    assert "to dense" in (tmp_path / "table.md").read_text()
    with Image.open(tmp_path / "curves.png") as picture:
        assert len(picture.convert("RGB").resize((80, 80)).getcolors(6400)) > 50


def test_the_mean_of_five_and_more(tmp_path, monkeypatch, capsys):
    rows = {"cross-modal": [1, 2, 3, 4, 50.0, 60.0, 79.0], "zero-shot": [9.0]}
    rows |= dict.fromkeys(("text", "images", "random", "images, all sizes"), [0.0] * 7)
    (tmp_path / "kept.jsonl").write_text(json.dumps({"cell": "x, 4", "seed": 1, "rows": rows}))
    found = printed(monkeypatch, capsys, "--kept", tmp_path / "kept.jsonl")
    assert found["x, 4", "cross-modal"] == ["cross-modal", "50.00", "63.00"]  # the last table's line


def test_without_results_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["concepts_per_class", "--kept", str(tmp_path / "none.jsonl")])
    assert experiment.main() == 2
    assert "no results; give DATA, or a FILE to --kept that has some" in capsys.readouterr().err


@pytest.mark.parametrize("shares, expected", [((0.0, 1.0), [60.0, 70.0]), ((0.0,), [50.0, 70.0])])
def test_the_likeliest_share_is_taken_for_each_number(shares, expected):
    found = {(0.0, 1.0, 1): (-3.0, 50.0), (1.0, 1.0, 1): (-2.0, 60.0), (0.0, 1.0, 2): (-1.0, 70.0),
             (1.0, 1.0, 2): (-9.0, 80.0)}  # fmt: skip
    assert experiment.best(found, shares, 2) == expected
