"""parse_test_res.py from the command line: CoOp's lines, and tables."""

import csv
import io
import json
import subprocess
import sys

import pytest
from fork_server import python
from helpers import ROOT

from ccli.results.records import write_record

RESULT = (
    "=> result\n* total: 1,000\n* correct: {correct}\n* accuracy: {accuracy}%\n* error: {error}%\n* macro_f1: 50.0%\n"
)


def call(folder, *args):
    """Run the script in folder; returns (exit status, stdout, stderr)."""
    done = subprocess.run(
        [python(), ROOT / "parse_test_res.py", *map(str, args)],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        env={"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
    )
    return done.returncode, done.stdout, done.stderr


def result(accuracy):
    return RESULT.format(correct=round(accuracy * 10), accuracy=accuracy, error=round(100 - accuracy, 1))


def log(folder, accuracy, name="log.txt", end="Finish training\n"):
    """A log in which a validation result precedes the end of training."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(
        f"epoch [1/1] batch [1/1]\n{result(99.0)}{end}Deploy\n{result(accuracy)}Elapsed: 0:00:01\n"
    )


@pytest.fixture
def three(tmp_path):
    for seed, accuracy in enumerate([80.0, 81.0, 82.0], 1):
        log(tmp_path / "exp" / f"seed{seed}", accuracy)
    return tmp_path


def test_coops_output_line_by_line(three):
    # mean 81; population deviation sqrt((1 + 0 + 1) / 3) = 0.8165
    expected = (
        "Parsing files in exp\n"
        "file: exp/seed1/log.txt. accuracy: 80.00%. \n"
        "file: exp/seed2/log.txt. accuracy: 81.00%. \n"
        "file: exp/seed3/log.txt. accuracy: 82.00%. \n"
        "===\n"
        "Summary of directory: exp\n"
        "* accuracy: 81.00% +- 0.82%\n"
        "===\n"
    )
    assert call(three, "exp") == (0, expected, "")


def test_ci95_by_hand(three):
    # 1.96 * 0.8165 / sqrt(3) = 0.9240
    code, out, _ = call(three, "exp", "--ci95")
    assert code == 0 and "* accuracy: 81.00% +- 0.92%\n" in out


def test_keyword(three):
    assert "* error: 19.00% +- 0.82%\n" in call(three, "exp", "--keyword", "error")[1]
    code, _, err = call(three, "exp", "--keyword", "auc")
    assert code == 2 and "* auc: N%" in err


def test_only_runs_that_trained_unless_test_log(tmp_path):
    log(tmp_path / "exp" / "seed1", 70.0, end="")
    code, out, err = call(tmp_path, "exp")
    assert code == 2 and "+-" not in out and "--test-log" in err
    code, out, err = call(tmp_path, "exp", "--test-log")
    assert (code, err) == (0, "") and "* accuracy: 70.00% +- 0.00%\n" in out


def test_multi_exp_averages_the_experiments(tmp_path):
    for name, accuracies in {"a_1shots": [60.0, 62.0], "b_2shots": [71.0]}.items():
        for seed, accuracy in enumerate(accuracies, 1):
            log(tmp_path / "root" / name / f"seed{seed}", accuracy)
    (tmp_path / "root" / "notes.txt").touch()
    (tmp_path / "root" / ".hidden").mkdir()
    code, out, err = call(tmp_path, "root", "--multi-exp")
    assert (code, err) == (0, "")
    assert "Summary of directory: root/a_1shots\n* accuracy: 61.00% +- 1.00%\n===\n" in out
    assert "Summary of directory: root/b_2shots\n* accuracy: 71.00% +- 0.00%\n===\n" in out
    assert out.endswith("===\nAverage performance\n* accuracy: 66.00%\n")
    (tmp_path / "root" / "c_4shots").mkdir()
    code, out, err = call(tmp_path, "root", "--multi-exp")
    assert code == 2 and "Average" not in out and "root/c_4shots" in err


def test_a_later_log_counts_only_where_the_first_has_no_result(tmp_path):
    log(tmp_path / "exp" / "seed1", 60.0)
    log(tmp_path / "exp" / "seed1", 90.0, name="log.txt-2026-01-01-00-00-00")
    (tmp_path / "exp" / "seed2").mkdir()
    (tmp_path / "exp" / "seed2" / "log.txt").write_text("killed\n")
    log(tmp_path / "exp" / "seed2", 61.0, name="log.txt-2026-01-01-00-00-00")
    log(tmp_path / "exp" / "seed2", 62.0, name="log.txt-2026-01-02-00-00-00")
    (tmp_path / "exp" / "seed2" / "log.txt-2026-01-03-00-00-00").write_text("killed again\n")
    _, out, err = call(tmp_path, "exp")
    assert "file: exp/seed1/log.txt. accuracy: 60.00%. \n" in out
    assert "file: exp/seed2/log.txt-2026-01-02-00-00-00. accuracy: 62.00%. \n" in out
    assert err == ""


def test_a_seed_without_a_result_is_named(three):
    (three / "exp" / "seed4").mkdir()
    code, out, err = call(three, "exp")
    assert code == 0 and "81.00% +- 0.82%" in out
    assert len(err.splitlines()) == 1 and "exp/seed4" in err


def record(folder, correct, seed, dataset="dtd", trainer="CCLI", **more):
    fields = {
        "dataset": dataset,
        "trainer": trainer,
        "cfg": "rn50",
        "backbone": "RN50",
        "shots": 16,
        "seed": seed,
        "protocol": "validation",
        "selected_by": "validation",
        "correct": correct,
        "total": 4,
        "accuracy": 100 * correct / 4,
        "per_class": [{"name": "dotted", "correct": correct, "total": 4}],
        "predictions": [0] * correct + [1] * (4 - correct),
        "labels": [0] * 4,
        "hyper_parameters": {},
        "seconds": {},
        "versions": {},
        "config": "",
    } | more
    write_record(folder / dataset / trainer / f"seed{seed}", fields)


def test_table_of_several_folders_that_overlap(tmp_path):
    for seed, correct in enumerate([1, 2, 3], 1):  # 25, 50, 75: 50 ± 25
        record(tmp_path / "out", correct, seed)
    record(tmp_path / "out", 4, 1, dataset="eurosat", trainer="CoOp")
    bad = tmp_path / "out" / "dtd" / "CCLI" / "seed4"
    bad.mkdir()
    (bad / "result.json").write_text("{")
    code, out, err = call(tmp_path, "out", "out/dtd", "--table")
    assert code == 0
    assert [cell.strip() for cell in out.splitlines()[2].split("|")[1:-1]] == ["CCLI", "50.00 ± 25.00", "-"]
    assert [cell.strip() for cell in out.splitlines()[3].split("|")[1:-1]] == ["CoOp", "-", "100.00 (1 seed)"]
    assert len(err.splitlines()) == 1 and "out/dtd/CCLI/seed4/result.json" in err
    code, out, _ = call(tmp_path, "out/dtd", "--table", "--format", "simple")
    assert code == 0 and "|" not in out and "50.00 ± 25.00" in out


def test_a_source_comes_before_its_targets_whatever_the_alphabet_says(tmp_path):
    record(tmp_path / "out", 2, 1, dataset="pets")
    for dataset, correct in {"dtd": 1, "cars": 4}.items():
        record(tmp_path / "out", correct, 1, dataset=dataset, trained_on="pets")
    heads = lambda *folders: call(tmp_path, *folders, "--table")[1].splitlines()[0]  # noqa: E731
    names = [text.strip().removesuffix(", 16 shots") for text in heads("out").split("|")[2:-1]]
    assert names == ["pets", "cars", "dtd", "mean of targets"]
    names = [text.strip().removesuffix(", 16 shots") for text in heads("out/dtd", "out/pets", "out").split("|")[2:-1]]
    assert names == ["pets", "dtd", "cars", "mean of targets"]  # otherwise the order of the folders


@pytest.mark.parametrize(
    "args, words",
    [
        (["nowhere"], "no such folder: nowhere"),
        (["nowhere", "--table"], "no such folder: nowhere"),
        (["nowhere", "--multi-exp"], "no such folder: nowhere"),
        (["empty"], "nothing found in empty"),
        (["empty", "--table"], "nothing found in empty"),
        (["empty", "--multi-exp"], "nothing found in empty"),
        (["exp", "empty"], "or make a table"),
        (["exp", "--table", "--ci95"], "--ci95"),
        (["exp", "--format", "simple"], "--format"),
        (["exp", "--format", "csv"], "--format"),
        (["exp", "--columns", "dataset"], "--columns"),
        (["exp", "--paired"], "--paired: only for tables"),
        (["exp", "--table", "--format", "latx"], "latx"),
        (["exp", "--table", "--columns", "seeds"], "seeds"),
        (["exp", "--tabel"], "--tabel"),
        ([], "DIR"),
    ],
)
def test_bad_input_is_one_line_and_status_2(three, args, words):
    (three / "empty").mkdir()
    code, _, err = call(three, *args)
    assert code == 2 and words in err
    assert len(err.splitlines()) == 1 and err.startswith("parse_test_res.py: error: ")


def test_help_teaches(tmp_path):
    code, out, _ = call(tmp_path, "--help")
    assert code == 0 and "examples:" in out and "--multi-exp" in out and "95%" in out
    assert "--columns dataset --format latex" in out and "--table --paired" in out


def tiny_sweep(folder):
    """Four images: CCLI 50 ± 25 on dtd (1, 2, 3 right) and 100 on cars; CoOp 25 ± 0 on dtd, seed 3 missing."""
    for seed, correct in enumerate([1, 2, 3], 1):
        record(folder, correct, seed)
        record(folder, 4, seed, dataset="cars")
    for seed in (1, 2):
        record(folder, 1, seed, trainer="CoOp")


def rows(text):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]


def test_what_is_bad_is_named_and_the_rest_goes_on(tmp_path):
    out = tmp_path / "out"
    tiny_sweep(out)
    record(out, 2, 9, trainer="GDA")
    without_digest = (out / "dtd/CoOp/seed1/result.json").read_text().rpartition(',\n"digest"')[0] + "}"
    old = without_digest.replace('"version": 2', '"version": 1')
    for seed, name, content in (
        (3, "failed.txt", "Traceback\nRuntimeError: out of memory\n"),
        (4, "result.json", (out / "dtd/CoOp/seed1/result.json").read_text()[:200]),
        (5, "result.json", old),
        (6, "log.txt", "killed"),
    ):
        (out / f"dtd/CoOp/seed{seed}").mkdir()
        (out / f"dtd/CoOp/seed{seed}" / name).write_text(content)
    (out / "dtd/TaskRes").mkdir()
    (out / "dtd/GDA/seed9/logs").mkdir()  # an empty folder in a finished run is nothing to name
    (tmp_path / "none").mkdir()
    code, text, err = call(tmp_path, "none", "out", "--table")
    assert code == 0
    assert [row[:2] for row in rows(text)[2:]] == [
        ["CCLI", "100.00 ± 0.00"],
        ["CoOp", "-"],
        ["GDA", "-"],
        ["CCLI to the best other", "-"],
    ]
    assert [row[2] for row in rows(text)[2:]] == [
        "**50.00 ± 25.00**",
        "25.00 ± 0.00 (2 seeds)",
        "**50.00** (1 seed)",
        "+12.50 (CoOp, 2 seeds)",  # (0 + 25) / 2; GDA is better, and has no seed of CCLI's
    ]
    words = [
        "dtd/CoOp/seed4/result.json is damaged",
        "seed5/result.json has version 1, this code reads version 2",
        "seed3 failed: RuntimeError: out of memory",
        "none has no result.json in it",
        "dtd/CoOp/seed6 has no result.json",
        "dtd/TaskRes has no result.json",
    ]
    lines = err.splitlines()
    assert len(lines) == len(words) and all(any(word in line for line in lines) for word in words), err


def test_columns(tmp_path):
    tiny_sweep(tmp_path)
    by_dataset = rows(call(tmp_path, ".", "--table", "--columns", "dataset")[1])
    assert by_dataset[0] == ["shots", "trainer", "cars", "dtd", "average over 2 data sets"]
    # by seed (25 + 100) / 2, (50 + 100) / 2, (75 + 100) / 2
    assert by_dataset[2] == ["16 shots", "CCLI", "100.00 ± 0.00", "**50.00 ± 25.00**", "75.00 ± 12.50"]
    by_shots = rows(call(tmp_path, ".", "--table", "--columns", "shots")[1])
    assert by_shots[0] == ["dataset", "trainer", "16 shots"] and by_shots[-1][0] == "average over 2 data sets"
    assert ["dtd", "CCLI to the best other", "+12.50 (CoOp, 2 seeds)"] in by_shots  # (0 + 25) / 2 on two seeds


def test_formats(tmp_path):
    tiny_sweep(tmp_path)
    code, text, _ = call(tmp_path, ".", "--table", "--format", "latex")
    assert code == 0 and text.count("\\midrule") == 2 and r"\textbf{50.00 $\pm$ 25.00}" in text
    code, text, _ = call(tmp_path, ".", "--table", "--format", "csv")
    cells = {(row["trainer"], row["dataset"]): row for row in csv.DictReader(io.StringIO(text))}
    assert code == 0 and len(cells) == 4
    assert [cells["CoOp", "dtd"][key] for key in ("mean", "std", "seeds", "short")] == ["25.0", "0.0", "2", "True"]
    code, text, _ = call(tmp_path, ".", "--table", "--format", "json", "--against", "CoOp")
    found = [(cell["dataset"], cell["difference"]) for cell in json.loads(text)["cells"] if cell["trainer"] == "CCLI"]
    assert code == 0 and found == [("cars", None), ("dtd", 12.5), ("average over 2 data sets", None)]


def test_paired(tmp_path):
    tiny_sweep(tmp_path)
    code, text, err = call(tmp_path, ".", "--table", "--paired")
    # dtd, seeds 1 and 2: 0 and 25 points; the one that is not 0 has p = 1; one image differs, p = 1
    assert (code, err) == (0, "") and rows(text)[-1] == ["CCLI against CoOp", "2 (1 equal)", "+12.50", "1", "0, 0 of 2"]
    (test,) = json.loads(call(tmp_path, ".", "--table", "--paired", "--format", "json")[1])["paired"]
    assert [(image["seed"], image["only_first"], image["only_second"]) for image in test["images"]] == [
        (1, 0, 0),
        (2, 1, 0),
    ]
    code, text, err = call(tmp_path, ".", "--table", "--paired", "--format", "csv")
    assert (code, text) == (2, "") and len(err.splitlines()) == 1 and "use json" in err
    assert "No paired tests" in call(tmp_path, "cars", "--table", "--paired")[1]


def test_the_gain_is_the_same_whatever_the_order_of_folders(tmp_path):
    """As a sweep has its trainers in another order than the alphabet."""
    for place, trainer, correct in (("a", "CoOp", 2), ("b", "GDA", 2), ("c", "CCLI", 3)):
        record(tmp_path / place, correct, 1, trainer=trainer)
    for folders in ("abc", "cba"):
        assert rows(call(tmp_path, *folders, "--table")[1])[-1] == ["CCLI to the best other", "+25.00 (GDA)"]


def test_records_that_do_not_go_together_are_named_by_their_files(tmp_path):
    for seed, top_k in ((1, 3), (2, 5)):
        record(tmp_path / "out", 1, seed, config={"SEED": seed, "TRAINER": {"CCLI": {"TOP_K": top_k}}})
    code, text, err = call(tmp_path, "out", "--table")
    assert (code, text) == (2, "") and len(err.splitlines()) == 1
    assert "out/dtd/CCLI/seed1/result.json and out/dtd/CCLI/seed2/result.json: seeds 1 and 2 of dtd, CCLI" in err
    assert "(TRAINER.CCLI.TOP_K 3 and 5)" in err and "VARIANT" in err
    for name, correct in (("a", 1), ("b", 2)):
        record(tmp_path / name, correct, 1)
    code, text, err = call(tmp_path, "a", "b", "--table")
    assert (code, text) == (2, "") and len(err.splitlines()) == 1
    assert "a/dtd/CCLI/seed1/result.json and b/dtd/CCLI/seed1/result.json: two different records" in err


def test_the_script_loads_nothing_heavy():
    code = "import sys, ccli.commands.table; sys.exit(str({'torch', 'scipy', 'numpy', 'tabulate'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.stderr.strip() == "set()"
