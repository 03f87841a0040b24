"""ccli edit, and --without of ccli predict, ccli explain and predict.py, on runs that train.py has made."""

import json
from pathlib import Path

import pytest
from helpers import ROOT, bundle_args, bundle_file, run_here
from picture_folders import args, draw

from ccli import cli
from ccli.inference.editing import class_weights, concepts_of, without
from ccli.inference.saving import FACTS, load_run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two classes of six pictures, and a run of CCLI's sparse form on four of each."""
    folder = tmp_path_factory.mktemp("pictures")
    for part, count in (("train", 6), ("test", 3)):
        for label, name in enumerate(("tabby cat", "snow leopard")):
            for k in range(count):
                draw(folder / "shots" / part / name / f"{k}.png", 10 * count + 100 * label + k)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CCLI_STORE", str(folder / "store"))
        run_here(*sparse(args(folder / "shots", folder / "run", "FEATURES.CROPS", 2, shots=4)))
    return folder


@pytest.fixture(autouse=True)
def store(made, monkeypatch):
    monkeypatch.setenv("CCLI_STORE", str(made / "store"))


def sparse(argv):
    """The same run with the sparse form's configuration, and a network that counts in any case."""
    config = ROOT / "configs/trainers/CCLI/demo_clip.yaml"
    argv = [config if "configs/trainers" in str(word) else word for word in argv]
    return [*argv, "TRAINER.CCLI.ALPHAS", "(0.0,)", "PROTOCOL", "fixed"]


def names_in(run, count=2) -> list[str]:
    """The names of the concepts with the largest weights."""
    order = run.head.network.weight.abs().amax(0).argsort(descending=True).tolist()
    return list(dict.fromkeys(run.concepts.names[row] for row in order))[:count]


def called(capsys, *argv, prog=None) -> tuple[int, str, str]:
    words = [str(word) for word in argv]
    code = cli.main(words) if prog is None else cli.run(words[0], prog, words[1:])
    out = capsys.readouterr()
    return code, out.out, out.err


def refused(capsys, *argv) -> str:
    code, out, err = called(capsys, *argv)
    assert code == 2 and out == "" and err.count("\n") == 1
    return err


def test_an_edit_is_the_librarys_and_says_what_it_did(made, capsys, tmp_path, encoded):
    run = load_run(made / "run")
    first, second = names_in(run)
    code, out, err = called(
        capsys, "edit", made / "run", "--drop", second, "--drop", first, "--to", tmp_path / "new"
    )  # fmt: skip
    assert code == 0 and err == "" and encoded == []  # the run has encoded the pictures
    lines = out.splitlines()
    for line, name in zip(lines, (second, first)):
        counted = class_weights(run, concepts_of(run, name)[name])
        weights = ", ".join(f"{label} {weight:+.3f}" for label, weight in counted.items())
        assert counted and line == f"dropped {name}, which counted for {weights}"
    assert lines[2:] == ["the other weights were refitted on 8 training images", str(tmp_path / "new")]
    new, wanted = load_run(tmp_path / "new"), without(run, [second, first])
    assert new.edited == {"dropped": [second, first], "refitted": True}
    tests = sorted(map(str, (made / "shots/test").rglob("*.png")))
    assert (new.predict_proba(tests) == wanted.predict_proba(tests)).all()
    assert not (new.predict_proba(tests) == run.predict_proba(tests)).all()


def test_the_other_commands_work_on_an_edit_and_answer_as_without(made, capsys, tmp_path):
    names, place = names_in(load_run(made / "run")), made / "shots/test"
    (tmp_path / "names.txt").write_text(f"\ufeff# a background\n{names[0]}\n\n  {names[1]} \n", encoding="utf-8")
    new = tmp_path / "new"
    assert called(capsys, "edit", made / "run", "--drop-file", tmp_path / "names.txt", "--to", new)[0] == 0
    given = ["--without", names[0], "--without", names[1]]
    for argv, prog in (
        (["predict", place, "--json"], None),
        (["predict", place, "--json", "--explain"], "predict.py"),
        (["explain", place, "--json"], None),
        (["explain", "--class", "tabby cat", "--against", "snow leopard", "--json"], None),
    ):
        code, of_edit, err = called(capsys, *argv, "--model-dir", new, prog=prog)
        assert code == 0 and err == ""
        for options in (given, ["--without-file", tmp_path / "names.txt"], ["--without", names[0], *given]):
            code, out, err = called(capsys, *argv, "--model-dir", made / "run", *options, prog=prog)
            assert code == 0 and out == of_edit
            said = "the other weights were refitted on 8 training images"
            assert err.endswith(f"{said}\n") and err.startswith("without ")
        assert called(capsys, *argv, "--model-dir", made / "run", prog=prog)[1] != of_edit
    whys = [one for line in of_edit.splitlines() for one in json.loads(line)["concepts"]]
    assert whys and not {one["concept"].removeprefix("looks like ") for one in whys} & set(names)
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    code, out, _ = called(capsys, "export", "--model-dir", new, tmp_path / "new.onnx")
    assert code == 0 and out.splitlines()[:2] == [str(tmp_path / "new.onnx"), str(tmp_path / "new.features.onnx")]


def test_a_page_is_of_the_run_and_not_of_its_edit(made, capsys, tmp_path):
    name = names_in(load_run(made / "run"))[0]
    called(capsys, "edit", made / "run", "--drop", name, "--to", tmp_path / "new", "--no-refit")
    error = refused(capsys, "report", "--concepts", tmp_path / "new", "--to", tmp_path / "page.html")
    assert "new holds an edited classifier, which was not tested; give the run that it was made from" in error
    assert called(capsys, "explain", "--model-dir", tmp_path / "new", "--class", "tabby cat")[0] == 0


def test_weights_stay_where_they_should_or_where_a_picture_is_gone(made, capsys, tmp_path):
    run = load_run(made / "run")
    name, gone = names_in(run)[0], Path(run.concepts.images[3])
    edit = ("edit", made / "run", "--drop", name, "--to")
    _, out, _ = called(capsys, *edit, tmp_path / "new", "--no-refit")
    assert out.splitlines()[1] == "the other weights stay as they were: --no-refit was given"
    content = gone.read_bytes()
    try:
        gone.unlink()
        code, out, err = called(capsys, *edit, tmp_path / "gone")
        _, _, said = called(capsys, "predict", "--model-dir", made / "run", "--without", name, made / "shots/test")
    finally:
        gone.write_bytes(content)
    assert code == 0 and err == ""
    why = (
        f"the other weights stay as they were: image {gone} cannot be read (No such file or directory); check its name"
    )
    assert out.splitlines()[1].startswith(why) and said.startswith(f"without {name}: {why}")
    for folder in ("new", "gone"):
        assert load_run(tmp_path / folder).edited == {"dropped": [name], "refitted": False}
    assert (tmp_path / "new" / FACTS).read_bytes() == (tmp_path / "gone" / FACTS).read_bytes()


def test_a_run_on_features_keeps_its_weights(capsys, tmp_path):
    run_here(*sparse(bundle_args(bundle_file(tmp_path), tmp_path / "run", shots=4)))
    name = names_in(load_run(tmp_path / "run"))[0]
    code, out, _ = called(capsys, "edit", tmp_path / "run", "--drop", name, "--to", tmp_path / "new")
    why = "it was trained on features, which a classifier does not keep"
    assert code == 0 and f"the other weights stay as they were: {why}\n" in out
    assert load_run(tmp_path / "new").edited == {"dropped": [name], "refitted": False}


def test_only_the_same_edit_is_written_over_another(made, capsys, tmp_path):
    first, second = names_in(load_run(made / "run"))
    edit = ("edit", made / "run", "--to", tmp_path / "new", "--drop", first)
    assert called(capsys, *edit, "--no-refit")[0] == 0 == called(capsys, *edit, "--no-refit")[0]
    as_it_was = called(capsys, *edit)
    assert as_it_was[0] == 0 and load_run(tmp_path / "new").edited["refitted"]
    before = {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()}
    another = f"{tmp_path / 'new'} holds another classifier; give another folder, or delete that one"
    assert another in refused(capsys, *edit, "--drop", second)
    assert "holds this edit with refitted weights, and now" in refused(capsys, *edit, "--no-refit")
    assert called(capsys, *edit) == as_it_was
    assert {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()} == before
    onto_itself = refused(capsys, "edit", made / "run", "--to", made / "run", "--drop", first)
    assert "holds another classifier" in onto_itself
    again = refused(capsys, "edit", tmp_path / "new", "--to", tmp_path / "newer", "--drop", first)
    assert f"{first!r}: taken out of this classifier before" in again
    assert called(capsys, "edit", tmp_path / "new", "--to", tmp_path / "newer", "--drop", second)[0] == 0
    assert load_run(tmp_path / "newer").edited == {"dropped": [first, second], "refitted": True}


def test_what_cannot_be_done_is_said_in_one_line(made, capsys, tmp_path):
    run, new = made / "run", tmp_path / "new"
    name = names_in(load_run(run))[0]
    assert f"Did you mean '{name}'?" in refused(capsys, "edit", run, "--drop", f"{name}s", "--to", new)
    error = refused(capsys, "predict", "--model-dir", run, "--without", "%", made / "shots/test")
    assert error.startswith("ccli predict: error: no concept '%'. The classifier has ")
    for words, message in (
        ((), "the following arguments are required: --drop or --drop-file"),
        (("--drop", name), "the following arguments are required: --to"),
    ):
        with pytest.raises(SystemExit, match="2"):
            called(capsys, "edit", run, *words, *(() if words else ("--to", new)))
        assert message in capsys.readouterr().err
    (tmp_path / "empty.txt").write_text("# nothing\n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    for file, message in (
        ("none.txt", "cannot read .*none.txt (No such file or directory); give a text file with one concept per line"),
        ("empty.txt", "names no concept; write one per line"),
        ("latin.txt", "is not UTF-8 text; save it as UTF-8"),
    ):
        error = refused(capsys, "edit", run, "--drop-file", tmp_path / file, "--to", new)
        assert all(part in error for part in message.split(".*"))
    run_here(*bundle_args(bundle_file(tmp_path), tmp_path / "dense", cfg="rn50_dense", shots=4))
    run_here(*bundle_args(bundle_file(tmp_path), tmp_path / "zero", trainer="ZeroshotCLIP", shots=4))
    for folder in ("dense", "zero"):
        for command in (
            ("edit", tmp_path / folder, "--drop", "red", "--to", new),
            ("explain", "--model-dir", tmp_path / folder, "--without", "red", "--class", "class 1"),
        ):
            assert "has no sparse network, whose concepts alone can be taken out; train CCLI" in refused(
                capsys, *command
            )
    assert not new.exists()
