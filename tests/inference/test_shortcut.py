"""The experiment on a planted shortcut, in miniature."""

import sys

import pytest

from ccli.inference.saving import load_run
from experiments import shortcut

COUNTS = {"train": 2, "val": 1, "test": 2}
ALONE = "sparse, concepts alone, 5 per class"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures and runs of one seed."""
    folder = tmp_path_factory.mktemp("shortcut")
    shortcut.draw(folder / "seed1/pictures", 1, COUNTS)
    return folder


def places(folder):
    """Class -> the backgrounds of its pictures."""
    return {one.name: {path.name.partition("_")[0] for path in one.iterdir()} for one in folder.iterdir()}


def test_a_class_is_always_before_its_background_and_never_in_shifted_pictures(folder):
    data = folder / "seed1/pictures"
    train, shifted = places(data / "shortcut/train"), places(data / "shortcut/test")
    assert len(train) == 8 and {frozenset(one) for one in train.values()} == {frozenset({x}) for x in shortcut.PLACES}
    assert train == places(data / "shortcut/val") == places(data / "like_training")
    assert all(found and found.isdisjoint(train[name]) for name, found in shifted.items())
    assert any(found != train[name] for name, found in places(data / "free/train").items())


def test_the_table_and_the_page(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shortcut, "COUNTS", COUNTS)
    monkeypatch.setattr(shortcut, "FORMS", {name: shortcut.FORMS[name] for name in (ALONE, "dense")})
    path = tmp_path / "shortcut.md"
    path.write_text("old\n\n## What it says\n\nIt is so.\n")
    monkeypatch.setattr(sys, "argv", ["shortcut", "--seeds", "1", "--folder", str(folder), "--to", str(path)])
    assert shortcut.main() == 0
    said, text = capsys.readouterr().out, path.read_text()
    assert said.strip() in text and "old" not in text and text.endswith("|\n\n## What it says\n\nIt is so.\n")
    assert "8 classes, 2 shots and 1 validation pictures per class, 2 test pictures per class of either kind" in text
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in said.strip().splitlines()[2:]]
    kinds = ["as trained", "backgrounds taken out", "as many others taken out", "trained anew without backgrounds"]
    expected = [(ALONE, kind) for kind in [*kinds, "trained without the shortcut"]]
    expected += [("dense", "as trained"), ("dense", "trained without the shortcut"), ("zero-shot", "")]
    assert [tuple(row[:2]) for row in rows] == expected
    assert all(0 <= float(value) <= 100 for row in rows for value in row[2:5])
    run = load_run(folder / "seed1" / shortcut.slug(ALONE))
    taken = shortcut.rows_of(run, shortcut.backgrounds(run))
    assert [row[5] for row in rows if row[5] != "-"] == [f"{len(taken)}.0"] and 4 <= len(taken) < len(
        run.concepts.names
    )
