"""Tables: numbers worked out by hand."""

import math
from fractions import Fraction

import pytest
from helpers import SHARED

from ccli.errors import CcliError
from ccli.published import Published, read_published
from ccli.tables import DAGGER, FOOTNOTE, PUBLISHED_NOTE, build_table, mean_std, results_table


def make(correct, seed=1, trainer="CCLI", dataset="dtd", shots=16, total=100, **other):
    fields = {"cfg": "rn50", "backbone": "RN50", "protocol": "validation", "selected_by": "validation"} | other
    fields = {"hyper_parameters": {}} | fields
    # A wrong accuracy on purpose: a table must come from correct / total.
    return {
        "trainer": trainer,
        "dataset": dataset,
        "shots": shots,
        "seed": seed,
        "correct": correct,
        "total": total,
        "accuracy": -1.0,
        **fields,
    }


def split(table):
    """The lines of a github table, without its rule, as lists of stripped cells."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in [lines[0], *lines[2:]]]


def is_gain(line):
    return any(cell.endswith("to the best other") for cell in line)


def cells(table):
    """The head and the rows of trainers."""
    return [line for line in split(table) if not is_gain(line)]


def gains(table):
    """The rows with CCLI's difference to the best other trainer."""
    return [line for line in split(table) if is_gain(line)]


def test_mean_std_by_hand():
    # mean 4; squared deviations 4 + 0 + 4 = 8; 8 / (3 - 1) = 4
    assert mean_std([2, 4, 6]) == (4.0, 2.0)
    mean, std = mean_std(iter([7.5]))
    assert mean == 7.5 and math.isnan(std)
    with pytest.raises(CcliError, match="no values"):
        mean_std([])


def test_means_deviations_and_bold():
    records = [make(c, seed) for seed, c in enumerate([60, 62, 64], 1)]  # 62 ± 2
    records += [make(c, seed, "TipAdapter") for seed, c in enumerate([61, 61, 61], 1)]  # 61 ± 0
    assert cells(results_table(records)) == [
        ["trainer", "dtd, 16 shots"],
        ["CCLI", "**62.00 ± 2.00**"],
        ["TipAdapter", "61.00 ± 0.00"],
    ]


def test_from_counts_not_from_rounded_lines():
    # 2/3 and 1/3 of three images: mean 50 %, sample deviation (100/3) / sqrt(2) = 23.57 %
    assert cells(results_table([make(2, 1, total=3), make(1, 2, total=3)]))[1] == ["CCLI", "50.00 ± 23.57"]


def test_a_missing_seed_is_counted_and_one_seed_has_no_deviation():
    records = [make(c, seed) for seed, c in enumerate([60, 62, 64], 1)]
    records += [make(50, 1, "CoOp"), make(52, 3, "CoOp"), make(40, 1, "ZeroShot")]
    # 50 and 52: mean 51, deviation sqrt(1 + 1) = 1.41
    assert cells(results_table(records))[1:] == [
        ["CCLI", "**62.00 ± 2.00**"],
        ["CoOp", "51.00 ± 1.41 (2 seeds)"],
        ["ZeroShot", "40.00 (1 seed)"],
    ]


def test_a_tie_is_bold_twice_and_is_exact():
    # 1/3 + 2/3 and 1/2 + 1/2 have one mean, which floats need not find.
    records = [make(1, 1, total=3), make(2, 2, total=3), make(1, 1, "CoOp", total=2), make(1, 2, "CoOp", total=2)]
    records += [
        make(4999, 1, "Near", total=10000),
        make(5000, 2, "Near", total=10000),
    ]  # 49.995: shown as 49.99 or 50.00
    _, ccli, coop, near = cells(results_table(records))
    assert ccli[1] == "**50.00 ± 23.57**" and coop[1] == "**50.00 ± 0.00**"
    assert "**" not in near[1]


def test_protocol_paper_is_marked_and_explained():
    records = [make(60), make(70, protocol="paper", selected_by="test")]
    table = results_table(records)
    assert [line[0] for line in cells(table)] == ["trainer", "CCLI", f"CCLI {DAGGER}"]
    assert table.endswith("\n\n" + FOOTNOTE)
    assert DAGGER not in results_table([make(60)])


def test_rows_are_told_apart_by_what_differs():
    names = lambda *records: [line[0] for line in cells(results_table(records))[1:]]  # noqa: E731
    assert names(make(1, cfg="a"), make(2, cfg="b"), make(3, trainer="CoOp", cfg="a")) == [
        "CCLI (a)",
        "CCLI (b)",
        "CoOp",
    ]
    assert names(make(1), make(2, backbone="ViT-B-16")) == ["CCLI (RN50)", "CCLI (ViT-B-16)"]
    assert names(make(1), make(2, protocol="fixed")) == ["CCLI (validation)", "CCLI (fixed)"]


GRID = [make(10, shots=1), make(20, shots=4), make(30, 1, "CoOp", shots=4), make(40, dataset="eurosat", shots=4)]


def test_columns_are_the_pairs_present():
    assert cells(results_table(GRID)) == [
        ["trainer", "dtd, 1 shot", "dtd, 4 shots", "eurosat, 4 shots", "average over 2 data sets, 4 shots"],
        ["CCLI", "10.00", "20.00", "40.00", "30.00"],
        ["CoOp", "-", "**30.00**", "-", "-"],
    ]


def test_columns_by_dataset():
    assert cells(results_table(GRID, "dataset")) == [
        ["shots", "trainer", "dtd", "eurosat", "average over 2 data sets"],
        ["1 shot", "CCLI", "10.00", "-", "-"],
        ["4 shots", "CCLI", "20.00", "40.00", "30.00"],
        ["4 shots", "CoOp", "**30.00**", "-", "-"],
    ]
    assert gains(results_table(GRID, "dataset")) == [["4 shots", "CCLI to the best other", "-10.00 (CoOp)", "-", "-"]]


def test_columns_by_shots_with_all_last():
    records = [*GRID, make(50, dataset="eurosat", shots=-1)]
    assert cells(results_table(records, columns="shots")) == [
        ["dataset", "trainer", "1 shot", "4 shots", "all shots"],
        ["dtd", "CCLI", "10.00", "20.00", "-"],
        ["dtd", "CoOp", "-", "**30.00**", "-"],
        ["eurosat", "CCLI", "-", "40.00", "50.00"],
        ["average over 2 data sets", "CCLI", "-", "30.00", "-"],
    ]


def test_simple_format_has_no_markup():
    table = results_table([make(60), make(50, trainer="CoOp")], fmt="simple")
    assert table.splitlines()[2].split() == ["CCLI", "60.00"]
    assert "*" not in table and "|" not in table


def test_a_bar_in_a_name_does_not_end_a_cell():
    assert "CCLI\\|x" in results_table([make(60, trainer="CCLI|x")])


def test_one_record_twice_counts_once_and_two_for_one_seed_are_refused():
    assert cells(results_table([make(60), make(60, seconds={"train": 2.0}), make(62, 2)]))[1][1] == "61.00 ± 1.41"
    with pytest.raises(CcliError, match=r"dtd, CCLI, rn50, 16 shots, seed 1 \(they differ in correct\)"):
        results_table([make(60), make(61)])


def test_bad_arguments_are_named():
    with pytest.raises(CcliError, match="no records"):
        results_table([])
    with pytest.raises(CcliError, match=r"'datasets'.*Did you mean 'dataset'"):
        results_table(GRID, "datasets")
    with pytest.raises(CcliError, match=r"'gihub'.*Did you mean 'github'"):
        results_table(GRID, fmt="gihub")


def test_how_often_zero_shot_was_chosen():
    chosen = [make(60, seed, hyper_parameters={"alpha": alpha}) for seed, alpha in ((1, 0.0), (2, 0.5), (3, 0.0))]
    constant = make(60, 4, hyper_parameters={"alpha": 0.0}, selected_by="default")  # nothing was chosen there
    other = make(50, trainer="TipAdapter", hyper_parameters={"alpha": 1.0})
    text = results_table([*chosen, constant, other])
    line = "alpha = 0 (zero-shot) was chosen by CCLI in 2 of 3 runs."  # TipAdapter's candidates have no 0
    assert line in text.splitlines()
    assert "chosen by" not in results_table([make(50, trainer="ZeroshotCLIP")])


def test_differences_to_a_trainer_by_hand():
    records = [make(c, seed) for seed, c in enumerate([60, 62, 64], 1)]
    records += [make(c, seed, "TipAdapter") for seed, c in ((1, 61), (2, 60))]  # +1 and -2 on the seeds of both
    table = results_table(records, against="CCLI")
    assert cells(table)[0] == ["trainer", "dtd, 16 shots", "to CCLI"]
    assert [row[2] for row in cells(table)[1:]] == ["", "-0.50"]
    with pytest.raises(CcliError, match=r"difference to CoOp needs one row .* no row \(there are CCLI, TipAdapter\)"):
        results_table(records, against="CoOp")
    with pytest.raises(CcliError, match="2 rows"):
        results_table([*records, make(50, cfg="rn101")], against="CCLI")


def test_base_and_new_have_a_harmonic_mean_and_are_no_targets():
    # 2 * 0.6 * 0.3 / 0.9 = 0.4 and 2 * 0.5 * 0.5 / 1 = 0.5: 45 ± 7.07
    rows = {"base": (60, 50), "new": (30, 50)}
    records = [
        make(c, seed, "CoOp", f"dtd ({part})", **({"trained_on": "dtd (base)"} if part == "new" else {}))
        for part, correct in rows.items() for seed, c in enumerate(correct, 1)
    ]  # fmt: skip
    zero = [
        make(c, seed, "ZeroshotCLIP", f"dtd ({part})") for part, c in (("base", 40), ("new", 40)) for seed in (1, 2)
    ]
    table = cells(results_table(records + zero))
    assert table[0][1:] == [
        "dtd (base), 16 shots",
        "dtd (new), 16 shots",
        "dtd, harmonic mean of base and new, 16 shots",
    ]
    assert table[1] == ["CoOp", "**55.00 ± 7.07**", "**40.00 ± 14.14**", "**45.00 ± 7.07**"]
    assert table[2] == ["ZeroshotCLIP", "40.00 ± 0.00", "**40.00 ± 0.00**", "40.00 ± 0.00"]


def test_halves_of_classes_are_left_out_of_the_mean_of_targets():
    plain = [make(70, dataset="s"), *(make(c, dataset=d, trained_on="s") for d, c in (("v2", 40), ("a", 60)))]
    halves = [make(90, dataset=d, trained_on="s") for d in ("s (new)", "v2 (base)")]
    head, row = cells(results_table(plain + halves))
    assert row[head.index("mean of targets, 16 shots")] == "50.00"


def test_published_rows_are_marked_and_never_bold():
    published = [
        Published("dtd", "TipAdapter", "RN50", 16, Fraction(9, 10)),
        Published("dtd", "TipAdapter", "RN50", 1, Fraction(1)),
        Published("dtd", "ZeroshotCLIP", "RN50", 0, Fraction(4, 10)),
        Published("eurosat", "X", "RN50", 16, Fraction(1)),
    ]
    records = [make(c, seed, t) for t, c in (("CCLI", 60), ("TipAdapter", 50)) for seed in (1, 2)]
    text = results_table(records, published=published)
    assert cells(text)[1:] == [
        ["CCLI", "**60.00 ± 0.00**"], ["TipAdapter", "50.00 ± 0.00"],
        ["TipAdapter (RN50) ‡", "90.00"], ["ZeroshotCLIP (RN50) ‡", "40.00"],
    ]  # fmt: skip
    assert PUBLISHED_NOTE in text and PUBLISHED_NOTE not in results_table(records, published=published[3:])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("dataset,trainer,backbone,shots\n", "no column 'accuracy'"),
        ("dataset,trainer,backbone,shots,accuracy\ndtd,X,RN50,one,3\n", "line 2: shots and accuracy must be numbers"),
        ("dataset,trainer,backbone,shots,accuracy\ndtd,X,RN50,1,103\n", "line 2: 1 shots and 103 % cannot be"),
        ("dataset,trainer,backbone,shots,accuracy\ndtd,X,RN50,1\n", "line 2: shots and accuracy must be numbers"),
    ],
)
def test_published_files_that_are_wrong(tmp_path, content, words):
    (tmp_path / "p.csv").write_text(content)
    with pytest.raises(CcliError, match=words):
        read_published(tmp_path / "p.csv")


def test_a_published_file(tmp_path):
    (tmp_path / "p.csv").write_text("dataset,trainer,backbone,shots,accuracy\ndtd,X,RN50,16,92.86\n")
    assert read_published(tmp_path / "p.csv") == [Published("dtd", "X", "RN50", 16, Fraction(9286, 10000))]
    with pytest.raises(CcliError, match=r"cannot read .*absent\.csv"):
        read_published(tmp_path / "absent.csv")


@pytest.mark.skipif(not SHARED.is_dir(), reason="no published numbers beside this checkout")
def test_tip_adapters_published_numbers_beside_ours():
    found = read_published(SHARED / "published_rn50.csv")
    assert Published("caltech101", "TipAdapterF", "RN50", 16, Fraction(9286, 10000)) in found
    table = cells(results_table([make(90, dataset="caltech101")], published=found))
    assert ["TipAdapterF (RN50) ‡", "92.86"] in table and ["ZeroshotCLIP (RN50) ‡", "85.92"] in table


def shifted(source, targets, seed=1, trainer="CCLI", trained_on="dtd", **other):
    """A run on `trained_on` and its tests on targets a, b ..., in an order that is not the table's."""
    tests = [make(c, seed, trainer, name, trained_on=trained_on, run="f", **other) for name, c in zip("abcd", targets)]
    return [*tests, make(source, seed, trainer, trained_on, **other)]


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


def test_gains_by_hand():
    records = [make(c, seed) for seed, c in enumerate([60, 62, 64], 1)]
    records += [make(c, seed, "TipAdapter") for seed, c in ((1, 61), (2, 60))]  # best other: -1 and +2 on its seeds
    records += [make(c, seed, "CoOp", dataset="cars") for seed, c in enumerate([50, 50, 50], 1)]
    records += [make(50, 1, "ZeroShot")]
    assert gains(results_table(records)) == [["CCLI to the best other", "+0.50 (TipAdapter)", "-"]]
    line = build_table(records).gains[0]
    assert (line.name, line.cells[0].seeds, line.cells[0].difference) == ("CCLI to the best other", 2, 0.5)
    against = gains(results_table([*records, make(70, cfg="plain")], against="TipAdapter"))
    assert against == [
        ["CCLI (rn50) to the best other", "+0.50 (TipAdapter)", "", "-", ""],
        ["CCLI (plain) to the best other", "+9.00 (TipAdapter)", "", "-", ""],  # 70 - 61
    ]


def test_gains_are_over_comparable_rows_only():
    ours = [make(60), make(50, trainer="CoOp")]
    assert gains(results_table([make(60), make(61, cfg="plain")])) == []  # no other trainer
    assert gains(results_table([make(60, trainer="GDA"), make(61, trainer="CoOp")])) == []  # no CCLI
    assert gains(results_table([make(60), make(50, 2, "CoOp")])) == []  # no seed of both
    better = [
        make(99, trainer="CoOp", protocol="paper", selected_by="test"),
        make(98, trainer="CoOp", backbone="RN101"),
    ]
    published = [Published("dtd", "CoOp", "RN50", 16, Fraction(1))]
    (row,) = gains(results_table(ours + better, published=published))
    assert row == ["CCLI (RN50) to the best other", "+10.00 (CoOp (RN50))"]
    assert gains(results_table([make(60, protocol="paper"), make(50, trainer="CoOp")])) == []
    tie = [make(60), make(50, trainer="GDA"), make(50, trainer="CoOp")]
    assert gains(results_table(tie))[0][1] == "+10.00 (GDA)"  # of equals the first
    # CoOp's run on a is trained on a, CCLI's was only tested there
    tested = [*shifted(60, [10, 20]), make(90, trainer="CoOp", dataset="a"), make(50, trainer="CoOp")]
    assert gains(results_table(tested)) == [["CCLI to the best other", "+10.00 (CoOp)", "-", "-", "-"]]


def test_averages_over_data_sets_by_hand():
    records = [make(c, seed) for seed, c in enumerate([60, 62, 64], 1)]
    records += [make(c, seed, dataset="cars") for seed, c in enumerate([80, 86], 1)]
    # by seed (60 + 80) / 2 = 70 and (62 + 86) / 2 = 74; seed 3 has no cars: 72 ± sqrt(4 + 4)
    records += [make(c, seed, "CoOp", d) for d, c in (("dtd", 70), ("cars", 72)) for seed in (1, 2, 3)]
    records += [make(65, seed, "GDA") for seed in (1, 2, 3)]
    published = [Published(d, "X", "RN50", 16, Fraction(c, 100)) for d, c in (("dtd", 90), ("cars", 95))]
    table = results_table(records, published=published)
    assert [[line[0], line[-1]] for line in cells(table)] == [
        ["trainer", "average over 2 data sets, 16 shots"],
        ["CCLI", "**72.00 ± 2.83** (2 seeds)"],
        ["CoOp", "71.00 ± 0.00"],
        ["GDA", "-"],
        ["X (RN50) ‡", "92.50"],
    ]
    # dtd: 62 - 70; cars: 83 - 72; average: 72 - 71 on the two seeds
    assert gains(table) == [["CCLI to the best other", "-8.00 (CoOp)", "+11.00 (CoOp)", "+1.00 (CoOp)"]]


def test_averages_are_exact_and_one_for_each_number_of_shots():
    records = [make(1, dataset=d, total=n) for d, n in {"a": 3, "b": 6}.items()]  # (1/3 + 1/6) / 2 = 1/4
    records += [make(1, 1, "CoOp", d, total=4) for d in "ab"]
    records += [make(10 * k, 1, "GDA", d, shots=1) for k, d in enumerate("abc")]  # (0 + 10 + 20) / 3
    table = cells(results_table(records))
    assert table[0][-2:] == ["average over 3 data sets, 1 shot", "average over 2 data sets, 16 shots"]
    assert [line[-2:] for line in table[1:]] == [["-", "**25.00**"], ["-", "**25.00**"], ["10.00", "-"]]


def test_targets_halves_and_means_are_no_data_sets():
    halves = [make(90, dataset=f"dtd ({part})") for part in ("base", "new")]
    for columns in (None, "dataset", "shots"):
        assert "average" not in results_table(shifted(60, [10, 20]) + halves, columns)
    names = [line[-1] for line in cells(results_table([*halves, make(60), make(70, dataset="cars")]))]
    assert (
        "average over 2 data sets, 16 shots" in split(results_table([*halves, make(60), make(70, dataset="cars")]))[0]
    )
    assert names[0] == "dtd, harmonic mean of base and new, 16 shots"


def test_what_a_table_holds():
    records = [make(60, 0), make(64, 1), make(61, 1, "CoOp"), make(70, 5, "GDA")]
    table = build_table(records, against="CCLI", published=[Published("dtd", "X", "RN50", 16, Fraction(1))])
    assert (table.heads, table.columns, table.against) == (("trainer",), ("dtd, 16 shots",), "CCLI")
    ccli, coop, gda, x = (line.cells[0] for line in table.lines)
    # 62, deviation sqrt(2^2 + 2^2) = sqrt(8); CoOp on seed 1: 61 - 64
    assert ccli == (62.0, math.sqrt(8), 2, False, False, None)
    assert (coop.mean, coop.seeds, coop.short, coop.best, coop.difference) == (61.0, 1, True, False, -3.0)
    assert math.isnan(coop.std) and gda.best and gda.difference is None  # no seed of both
    assert (x.mean, x.seeds, x.short, x.best, x.difference) == (100.0, 1, False, False, None)
    assert [line.row.protocol for line in table.lines] == ["validation"] * 3 + ["‡"]
    assert table.lines[0].tasks == (("dtd", 16, False),) and table.lines[0].labels == ()
    assert build_table(records, "dataset").lines[0].labels == ("16 shots",)


def test_a_table_of_ccli_with_itself_has_no_gains():
    """As in an ablation: two rows of CCLI beside one other trainer."""
    records = [make(60), make(62, cfg="plain"), make(55, trainer="GDA")]
    assert build_table(records).gains == ()
    assert [line.name for line in build_table([*records, make(50, trainer="CoOp")]).gains] == [
        "CCLI (rn50) to the best other",
        "CCLI (plain) to the best other",
    ]
