"""predict.py through its command line, on runs that train.py has made."""

import csv
import io
import json
import os
import subprocess
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from fork_server import python
from helpers import ROOT, bundle_args, bundle_file, run_here, script
from picture_folders import args, draw, fill

from ccli import cli
from ccli.commands import answers
from ccli.inference.explanations import Reason, Reasons
from ccli.inference.saving import load_run
from ccli.results.records import read_record

predict = script("predict")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two classes with six pictures to learn from and three to test on, and a run of CCLI on them."""
    folder = tmp_path_factory.mktemp("pictures")
    for part, seed in (("train", 0), ("test", 50)):
        for label, name in enumerate(("tabby cat", "snow leopard")):
            for k in range(6 if part == "train" else 3):
                draw(folder / "shots" / part / name / f"{k}.png", seed + 100 * label + k)
    run_here(*args(folder / "shots", folder / "run", shots=4))
    run_here(*args(folder / "shots", folder / "dense", shots=4, cfg="demo_clip_dense"))
    return folder


def called(capsys, *argv) -> tuple[int, str, str]:
    code = predict.main([str(a) for a in argv])
    out = capsys.readouterr()
    return code, out.out, out.err


def refused(capsys, *argv) -> str:
    with pytest.raises(SystemExit) as end:
        predict.main([str(a) for a in argv])
    assert end.value.code == 2
    return capsys.readouterr().err


def test_labels_and_probabilities_are_those_of_the_loaded_run(pictures, capsys):
    run, folder = load_run(pictures / "run"), pictures / "shots/test"
    paths = sorted(map(str, folder.rglob("*.png")))
    p = run.predict_proba(paths)
    code, out, _ = called(capsys, "--model-dir", pictures / "run", folder, "--json", "--top", 5)
    found = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [one["image"] for one in found] == paths
    for one, row in zip(found, p):
        order = np.argsort(-row)
        assert [share["label"] for share in one["top"]] == [run.classnames[k] for k in order]
        assert [share["probability"] for share in one["top"]] == pytest.approx(row[order].tolist())
        assert one["label"] == one["top"][0]["label"] and sum(x["probability"] for x in one["top"]) == pytest.approx(1)
    code, out, _ = called(capsys, "--model-dir", pictures / "run", folder, "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0 and [(r["image"], r["label"]) for r in rows] == [(one["image"], one["label"]) for one in found]
    assert [float(r["probability_1"]) for r in rows] == pytest.approx(p.max(1).tolist(), abs=1e-6)
    code, out, _ = called(capsys, "--model-dir", pictures / "run", *paths[:2])
    assert [line.split("\t")[:2] for line in out.splitlines()] == [[one["image"], one["label"]] for one in found[:2]]


def test_pictures_of_the_training_are_marked(pictures, capsys, monkeypatch):
    monkeypatch.chdir(pictures)
    used = load_run("run").concepts.images
    _, out, _ = called(capsys, "--model-dir", "run", "shots", "--csv", "--top", 2)
    rows = list(csv.DictReader(io.StringIO(out)))
    marked = {os.path.abspath(row["image"]) for row in rows if row["training"] == "yes"}
    assert len(used) == 8 and marked == set(used) and {row["training"] for row in rows} == {"yes", ""}
    _, out, _ = called(capsys, "--model-dir", "run", "shots", "--json")
    found = [json.loads(line) for line in out.splitlines()]
    assert {os.path.abspath(one["image"]) for one in found if one.get("training")} == marked


@pytest.mark.parametrize("crops", [0, 3])
def test_test_pictures_get_the_labels_that_the_record_has(tmp_path, capsys, crops):
    fill(tmp_path / "shots/train", ant=3, bee=3)
    fill(tmp_path / "shots/test", ant=4, bee=4)
    run_here(*args(tmp_path / "shots", tmp_path / "run", "FEATURES.CROPS", crops))
    record, run = read_record(tmp_path / "run"), load_run(tmp_path / "run")
    _, out, _ = called(capsys, "--model-dir", tmp_path / "run", tmp_path / "shots/test", "--json")
    labels = [run.classnames.index(json.loads(line)["label"]) for line in out.splitlines()]
    assert labels == record["predictions"]
    features = run.features(run.examples.paths)
    assert np.allclose(features, run.examples.features, atol=1e-3)  # the store keeps half floats


def test_reject_leaves_the_less_likely_ones_without_a_label(pictures, capsys):
    run, folder = load_run(pictures / "run"), pictures / "shots/test"
    paths = sorted(map(str, folder.rglob("*.png")))
    highest = run.predict_proba(paths).max(1)
    limit = float(np.sort(highest)[2] + np.sort(highest)[3]) / 2
    argv = ("--model-dir", pictures / "run", folder, "--reject", limit)
    _, out, _ = called(capsys, *argv, "--json")
    found = [json.loads(line) for line in out.splitlines()]
    assert [one["label"] is not None for one in found] == (highest >= limit).tolist()
    assert all(one["top"] for one in found)
    _, out, _ = called(capsys, *argv)
    assert sum("\t(no label)\t" in line for line in out.splitlines()) == 3
    _, out, _ = called(capsys, *argv, "--csv")
    assert sum(row["label"] == "" for row in csv.DictReader(io.StringIO(out))) == 3


@pytest.mark.parametrize("form", ["run", "dense"])
def test_reasons_add_up_and_name_the_pictures_behind_them(form, pictures, capsys):
    run, one = load_run(pictures / form), pictures / "shots/test/tabby cat/0.png"
    code, out, _ = called(capsys, "--model-dir", pictures / form, one, "--explain", "--json")
    why = json.loads(out)["reasons"]
    parts = [why[name] for name in ("zero_shot", "class_texts", "constant", "others")]
    assert code == 0 and sum(parts) + sum(x["part"] for x in why["concepts"]) == pytest.approx(why["total"], abs=1e-9)
    assert why["total"] == pytest.approx(float(run.logits([one]).max()), abs=1e-5)
    assert sum(why["kinds"].values()) == pytest.approx(why["others"] + sum(x["part"] for x in why["concepts"]))
    for reason in why["concepts"]:
        name = reason["concept"].removeprefix("looks like ")
        behind = [picks for picks, known in zip(run.concepts.picks, run.concepts.names) if known == name]
        assert reason["images"] in [[run.concepts.images[k] for k in picks] for picks in behind]
        assert all(map(os.path.isfile, reason["images"]))
    _, out, _ = called(capsys, "--model-dir", pictures / form, one, "--explain")
    lines = out.splitlines()[1:]
    outer = [float(line.split()[0]) for line in lines if line[:6] == " " * 6 and line[12] == " "]
    assert f"for {why['what']}, of which" in lines[0] and outer[0] == pytest.approx(sum(outer[1:]), abs=3e-3)


def test_reasons_of_few_concepts_are_the_class_name_and_they():
    listed = [
        Reason("looks like b", 0.75, -0.1, [], ["c", "d", "e", "f", "g"], 12),
        Reason("a", -0.25, -0.2, ["x/y/1.png", ""], ["h"], 1), Reason("i", -0.5, 0.2, [], [], 0),
    ]  # fmt: skip
    why = asdict(Reasons("cat", 1.0002, 1.0, 0.0, 0.0002, 0.0, listed, {"kind": 0.0}))
    lines = [
        "      +1.000  for cat, of which",
        "      +1.000  zero-shot",
        "      +0.750  does not look like b (also: c, d, e and 2 more; 12 other names fit better)",
        "      -0.250  not a (also: h; 1 other name fits better): y/1.png",
        "      -0.500  i",
    ]
    assert answers.reasons_text(why) == lines
    assert answers.reasons_text(why | {"zero_shot": 0.0}) == lines[:1] + lines[2:], "a bottleneck without class names"
    with_texts = answers.reasons_text(why | {"class_texts": 0.1})
    assert [line[14:] for line in with_texts[2:4]] == ["class texts", "concepts (kind +0.000), of which"]
    assert with_texts[-1] == "          +0.000  all others"


@pytest.mark.parametrize("form", ["run", "dense"])
def test_a_class_and_what_separates_it(form, pictures, capsys):
    run = load_run(pictures / form)
    _, out, _ = called(capsys, "--model-dir", pictures / form, "--class", "tabby cat", "--json")
    logits = run.logits(run.prototypes)
    k, other = run.label("tabby cat"), run.label("snow leopard")
    mean = 0 if run.sparse else float(logits[k].mean())
    assert json.loads(out)["total"] == pytest.approx(float(logits[k, k]) - mean, abs=1e-4)
    argv = ("--model-dir", pictures / form, "--class", "tabby cat", "--against")
    _, out, _ = called(capsys, *argv, "snow leopard", "--json")
    two = logits[:, k] - logits[:, other]
    assert json.loads(out)["total"] == pytest.approx(float(two[k] - two[other]), abs=1e-4)
    assert "for tabby cat against snow leopard, of which" in called(capsys, *argv, "snow leopard")[1]
    code, _, err = called(capsys, *argv, "snow leopards")
    assert code == 2 and "Did you mean 'snow leopard'?" in err and err.count("\n") == 1


def test_bad_pictures_are_named_and_the_others_go_on(pictures, tmp_path, capsys):
    good = draw(tmp_path / "mixed/good.png")
    (tmp_path / "mixed/text.png").write_text("not a picture")
    (tmp_path / "mixed/cut.png").write_bytes(good.read_bytes()[:60])
    (tmp_path / "mixed/empty").mkdir()
    (tmp_path / "empty").mkdir()
    argv = (tmp_path / "mixed", tmp_path / "empty", tmp_path / "none.png")
    code, out, err = called(capsys, "--model-dir", pictures / "run", *argv, "--json")
    assert code == 1 and [json.loads(line)["image"] for line in out.splitlines()] == [str(good)]
    for part in (
        "text.png is unreadable",
        "cut.png is unreadable",
        "empty holds no picture",
        "none.png cannot be read",
    ):
        assert part in err
    assert "3 of 4 pictures could not be read" in err and "Traceback" not in err


def test_names_of_every_kind_stay_what_they_are(pictures, tmp_path, capsys):
    folder = tmp_path / "odd"
    names = ["a b.png", 'quo"te,.png', "line\nbreak.png", "grün 猫.png", "\udcff.png", "-x.png", "tab\t.png"]
    for k, name in enumerate(names):
        draw(tmp_path / "one.png", k)
        os.makedirs(folder, exist_ok=True)
        os.replace(tmp_path / "one.png", folder / name)
    (folder / ".hidden.png").write_bytes(b"")
    paths = [str(folder / name) for name in sorted(names)]
    argv = ["--model-dir", str(pictures / "run"), str(folder)]
    assert [json.loads(line)["image"] for line in called(capsys, *argv, "--json")[1].splitlines()] == paths
    lines = called(capsys, *argv)[1].splitlines()
    assert len(lines) == len(names)
    assert all(line.count("\t") == 2 and line.replace("\t", "").isprintable() for line in lines)
    command = [python(), str(ROOT / "predict.py"), *argv, "--csv"]
    done = subprocess.run(command, capture_output=True, env=os.environ | {"LC_ALL": "C.UTF-8"})
    rows = list(csv.reader(io.StringIO(done.stdout.decode("utf-8", "surrogateescape"), newline="")))
    assert done.returncode == 0 and [row[0] for row in rows[1:]] == paths


@pytest.fixture(scope="module")
def cats(tmp_path_factory):
    """A run whose classes have names that few code pages hold."""
    folder = tmp_path_factory.mktemp("cats")
    fill(folder / "shots", train__猫=3, train__café=3, test__猫=2, test__café=2)
    run_here(*args(folder / "shots", folder / "run", "FEATURES.CROPS", 0))
    return folder


@pytest.mark.parametrize(
    "words, encoding",
    [
        (("shots/test",), "cp1252"), (("shots/test", "--explain"), "ascii"), (("--class", "猫"), "shift_jis"),
        (("shots/test", "--csv", "--top", "9"), "ascii"), (("shots/test", "--csv", "--top", "2"), "latin-1"),
    ],
)  # fmt: skip
def test_a_terminal_that_lacks_a_character_gets_an_escape(words, encoding, cats, monkeypatch):
    out = _printed(monkeypatch, cats, encoding, "predict", "predict.py", "--model-dir", "run", *words)
    if "--csv" in words:  # for programs, in one encoding
        rows = list(csv.DictReader(io.StringIO(out.decode("utf-8"))))
        assert {row["label_1"] for row in rows} | {row["label_2"] for row in rows} == {"猫", "café"}
        assert len(rows[0]) == 3 + 2 * 2, "no columns for more labels than there are classes"
        assert None not in rows[0] and None not in rows[0].values()
        return
    for name in ("猫", "café") if "--class" not in words else ("猫",):
        assert name.encode(encoding, "backslashreplace") in out


def test_a_page_whose_name_an_ascii_terminal_lacks(cats, monkeypatch):
    assert b"pag\\xe9.html" in _printed(monkeypatch, cats, "ascii", "report", "ccli report", "run", "--to", "pagé.html")


def _printed(monkeypatch, folder, encoding: str, command: str, prog: str, *argv: str) -> bytes:
    """What a command prints on a terminal of this encoding."""
    with io.TextIOWrapper(io.BytesIO(), encoding) as terminal:
        monkeypatch.setattr("sys.stdout", terminal)
        monkeypatch.chdir(folder)
        assert cli.run(command, prog, list(argv)) == 0
        return terminal.buffer.getvalue()


def test_pictures_are_taken_as_they_are_needed(pictures, monkeypatch):
    """Of a folder without an end only as many are looked at as answers are taken, and a few blocks more."""
    run, one, asked = load_run(pictures / "run"), str(pictures / "shots/test/tabby cat/0.png"), []

    def endless():
        while True:
            asked.append(one)
            yield one

    found = answers.predictions(run, endless(), 1, 0.0, False)
    for _ in range(3):
        assert next(found)["image"] == one
    assert len(asked) <= 8 * answers.BLOCK
    found.close()


def test_a_reader_that_has_seen_enough_is_no_error(pictures):
    command = f"{python()} {ROOT / 'predict.py'} --model-dir {pictures / 'run'} {pictures / 'shots'} | head -1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count("\n") == 1 and "Error" not in done.stderr, done.stderr


def test_wrong_words_are_refused_in_one_line(pictures, capsys):
    run = ("--model-dir", pictures / "run")
    assert "give one of IMAGE, --class and --export" in refused(capsys, *run)
    assert "not IMAGE and --class" in refused(capsys, *run, "a.png", "--class", "x")
    assert "needs --class" in refused(capsys, *run, "a.png", "--against", "x")
    assert "use --json" in refused(capsys, *run, "a.png", "--csv", "--explain")
    assert "must be a probability between 0 and 1, got '1.5'" in refused(capsys, *run, "a.png", "--reject", "1.5")
    assert "must be an integer >= 1, got '0'" in refused(capsys, *run, "a.png", "--top", "0")
    assert "--model-dir" in refused(capsys, "a.png")


def test_runs_that_cannot_be_used_are_refused_in_one_line(tmp_path, capsys):
    code, _, err = called(capsys, "--model-dir", tmp_path, "a.png")
    assert code == 2 and "classifier.json is not there" in err and err.count("\n") == 1
    run_here(*bundle_args(bundle_file(tmp_path), tmp_path / "bundle"))
    code, _, err = called(capsys, "--model-dir", tmp_path / "bundle", "a.png")
    assert code == 2 and "trained on features, not on pictures" in err
    fill(tmp_path / "shots/train", ant=2, bee=2)
    fill(tmp_path / "shots/test", ant=1, bee=1)
    run_here(*args(tmp_path / "shots", tmp_path / "zero", trainer="ZeroshotCLIP"))
    image = Path(tmp_path / "shots/test/ant").iterdir().__next__()
    code, out, _ = called(capsys, "--model-dir", tmp_path / "zero", image)
    assert code == 0 and out.count("\n") == 1
    code, _, err = called(capsys, "--model-dir", tmp_path / "zero", image, "--explain")
    assert code == 2 and "a run of ZeroshotCLIP has no concepts to explain by" in err
