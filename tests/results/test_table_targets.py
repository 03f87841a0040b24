"""Runs that were tested on other data sets: rows, means of targets."""

import pytest
from table_records import cells, make, results_table, shifted

from ccli.errors import CcliError


def test_a_run_and_its_tests_elsewhere_are_one_row():
    records = shifted(60, [10, 20]) + shifted(62, [30, 60], seed=2)
    records += [make(c, seed, "Zero", name) for name, c in {"dtd": 50, "a": 15, "b": 40}.items() for seed in (1, 2)]
    # means over the targets: (10 + 20) / 2 = 15 and (30 + 60) / 2 = 45, so 30 ± 30 / sqrt(2); zero-shot (15 + 40) / 2
    assert cells(results_table(records)) == [
        ["trainer", "dtd, 16 shots", "a, 16 shots", "b, 16 shots", "mean of targets, 16 shots"],
        ["CCLI", "**61.00 ± 1.41**", "**20.00 ± 14.14**", "**40.00 ± 28.28**", "**30.00 ± 21.21**"],
        ["Zero", "50.00 ± 0.00", "15.00 ± 0.00", "**40.00 ± 0.00**", "27.50 ± 0.00"],
    ]


def test_the_mean_of_targets_is_exact_and_of_accuracies():
    records = [make(60), *(make(1, dataset=d, trained_on="dtd", total=n) for d, n in {"a": 3, "b": 6}.items())]
    records += [make(60, trainer="CoOp")]
    records += [make(1, 1, "CoOp", d, trained_on="dtd", total=4) for d in "ab"]  # 1/4 = (1/3 + 1/6) / 2: a tie
    assert [line[-1] for line in cells(results_table(records))[1:]] == ["**25.00**", "**25.00**"]


def test_the_mean_is_over_what_was_tested_on_all_targets():
    records = shifted(60, [10, 20]) + shifted(62, [30], seed=2) + shifted(50, [40, 50], shots=1)
    records += [make(33, trainer="CoOp", dataset="a", trained_on="dtd")]
    head, ccli, coop = cells(results_table(records))
    assert head[1:3] == ["dtd, 1 shot", "dtd, 16 shots"] and head[-2:] == [
        f"mean of targets, {n}" for n in ("1 shot", "16 shots")
    ]
    assert ccli[-2:] == ["45.00 (1 seed)", "15.00 (1 seed)"] and coop[-2:] == ["-", "-"]
    assert "mean of" not in results_table(shifted(60, [10]))  # the mean of one is that one
    assert "mean of" not in results_table(records, "dataset")


def test_what_a_run_was_trained_on_tells_rows_apart():
    records = shifted(60, [10, 20]) + [make(90, dataset="a"), make(80, dataset="eurosat")]
    assert cells(results_table(records)) == [
        ["trainer", "dtd, 16 shots", "a, 16 shots", "b, 16 shots", "eurosat, 16 shots",
         "average over 2 data sets, 16 shots", "mean of targets, 16 shots"],
        ["CCLI (trained on dtd)", "60.00", "10.00", "20.00", "-", "-", "15.00"],
        ["CCLI", "-", "**90.00**", "-", "80.00", "70.00", "-"],  # (60 + 80) / 2: the run on dtd is one of its runs
    ]  # fmt: skip
    one_row = [make(60), make(90, dataset="a"), make(80, dataset="eurosat")]
    assert [line[0] for line in cells(results_table(one_row))[1:]] == ["CCLI"]
    plain = shifted(60, [10, 20]) + shifted(61, [11, 21], cfg="plain")
    assert [line[0] for line in cells(results_table(plain))[1:]] == ["CCLI (rn50)", "CCLI (plain)"]


def test_several_sources_have_a_mean_each():
    records = shifted(60, [10, 20]) + shifted(70, [30, 40], trained_on="pets", trainer="CoOp")
    records += [make(50, trainer="CoOp", dataset="c", trained_on="pets")]
    head, ccli, coop = cells(results_table(records))
    assert head[-2:] == ["mean of targets of dtd, 16 shots", "mean of targets of pets, 16 shots"]
    assert ccli[0] == "CCLI (trained on dtd)" and ccli[-2:] == ["15.00", "-"]
    assert coop[0] == "CoOp (trained on pets)" and coop[-2:] == ["**35.00**", "40.00"]
    assert [text.partition(",")[0] for text in head[1:6]] == ["dtd", "pets", "a", "b", "c"]


def test_a_test_of_a_run_where_it_was_trained_counts_once():
    run = make(60, config={"DATASET": {"NUM_SHOTS": 16}}, predictions=[0, 1])
    test = run | {"config": {"DATASET": {"NUM_SHOTS": -1}}, "run": "f"}
    assert results_table([run, test]) == results_table([test, run]) == results_table([run])
    with pytest.raises(CcliError, match=r"seed 1 \(they differ in predictions\)"):
        results_table([run, test | {"predictions": [1, 0]}])
    with pytest.raises(CcliError, match=r"seed 1 \(they differ in config\)"):
        results_table([run, {key: value for key, value in test.items() if key != "run"}])


def test_a_choice_counts_once_however_often_the_run_is_tested():
    text = results_table(shifted(60, [10, 20], hyper_parameters={"alpha": 0.0}))
    assert text.endswith("alpha = 0 (zero-shot) was chosen by CCLI in 1 of 1 runs.")
