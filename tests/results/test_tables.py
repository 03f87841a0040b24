"""Tables: numbers worked out by hand."""

import math
from fractions import Fraction

import pytest
from helpers import SHARED
from table_records import cells, gains, make, results_table

from ccli.errors import CcliError
from ccli.results.aggregate import PAPER
from ccli.results.published import Published, read_published
from ccli.results.tables import FOOTNOTE, PUBLISHED_NOTE, mean_std


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
    assert [line[0] for line in cells(table)] == ["trainer", "CCLI", f"CCLI {PAPER}"]
    assert table.endswith("\n\n" + FOOTNOTE)
    assert PAPER not in results_table([make(60)])


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
        (
            "dataset,trainer,backbone,shots,accuracy\ndtd,X,RN50,1,103\n",
            "line 2: shots must be >= 0 and accuracy 0 to 100 %, got 1 and 103",
        ),
        ("dataset,trainer,backbone,shots,accuracy\ndtd,X,RN50,1\n", "line 2: shots and accuracy must be numbers"),
        (
            "dataset,trainer,backbone,shots,accuracy\ndtd,X,RN50,1,3\ndtd,X,RN50,2,3\ndtd,X,RN50,1,4\n",
            r"lines 2 and 4: two accuracies of X \(RN50\) on dtd for one number of shots .*keep one",
        ),
        ("dataset,trainer,backbone,shots,accuracy\ndtd,X,RN50,0,3\ndtd,X,RN50,1,4\n", "lines 2 and 3: two accuracies"),
    ],
)
def test_published_files_that_are_wrong(tmp_path, content, words):
    (tmp_path / "p.csv").write_text(content)
    with pytest.raises(CcliError, match=words):
        read_published(tmp_path / "p.csv")


def test_a_published_file(tmp_path):
    (tmp_path / "p.csv").write_text("dataset,trainer,backbone,shots,accuracy\ndtd,X,RN50,16,92.86\n")
    assert read_published(tmp_path / "p.csv") == [Published("dtd", "X", "RN50", 16, Fraction(9286, 10000))]
    spreadsheet = (tmp_path / "p.csv").read_text().encode("utf-8-sig")  # as Excel's "CSV UTF-8"
    (tmp_path / "p.csv").write_bytes(spreadsheet + b"dtd,Y,RN50,16,1\r\ndtd,X,RN101,16,1\r\n")
    assert [row.trainer for row in read_published(tmp_path / "p.csv")] == ["X", "Y", "X"]
    with pytest.raises(CcliError, match=r"cannot read .*absent\.csv"):
        read_published(tmp_path / "absent.csv")


@pytest.mark.skipif(not SHARED.is_dir(), reason="no published numbers beside this checkout")
def test_tip_adapters_published_numbers_beside_ours():
    found = read_published(SHARED / "published_rn50.csv")
    assert Published("caltech101", "TipAdapterF", "RN50", 16, Fraction(9286, 10000)) in found
    table = cells(results_table([make(90, dataset="caltech101")], published=found))
    assert ["TipAdapterF (RN50) ‡", "92.86"] in table and ["ZeroshotCLIP (RN50) ‡", "85.92"] in table
