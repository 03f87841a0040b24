"""Averages over data sets and gains over the best other method: numbers worked out by hand."""

import math
from fractions import Fraction

from table_records import cells, gains, make, results_table, shifted, split

from ccli.results.published import Published
from ccli.results.tables import build_table


def test_gains_by_hand():
    records = [make(c, seed) for seed, c in enumerate([60, 62, 64], 1)]
    records += [make(c, seed, "TipAdapter") for seed, c in ((1, 61), (2, 60))]  # best other: -1 and +2 on its seeds
    records += [make(c, seed, "CoOp", dataset="cars") for seed, c in enumerate([50, 50, 50], 1)]
    records += [make(50, 1, "ZeroShot")]
    assert gains(results_table(records)) == [["CCLI to the best other", "+0.50 (TipAdapter, 2 seeds)", "-"]]
    line = build_table(records).gains[0]
    assert (line.name, line.cells[0].seeds, line.cells[0].difference) == ("CCLI to the best other", 2, 0.5)
    against = gains(results_table([*records, make(70, cfg="plain")], against="TipAdapter"))
    assert against == [
        ["CCLI (rn50) to the best other", "+0.50 (TipAdapter, 2 seeds)", "", "-", ""],
        ["CCLI (plain) to the best other", "+9.00 (TipAdapter, 1 seed)", "", "-", ""],  # 70 - 61
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
    # CoOp's run on a is trained on a, CCLI's was only tested there
    tested = [*shifted(60, [10, 20]), make(90, trainer="CoOp", dataset="a"), make(50, trainer="CoOp")]
    assert gains(results_table(tested)) == [["CCLI to the best other", "+10.00 (CoOp)", "-", "-", "-"]]


def test_the_best_other_does_not_depend_on_the_order_of_records():
    """Of equals, the first as papers list them; strangers after those, by name."""
    records = [make(60), make(60, 2), *(make(50, 1, name) for name in ("Strange", "Odd", "CoOp", "GDA"))]
    for given in (records, records[::-1]):
        assert gains(results_table(given))[0][1] == "+10.00 (GDA, 1 seed)"
        assert gains(results_table([r for r in given if r["trainer"] not in ("CoOp", "GDA")]))[0][1] == (
            "+10.00 (Odd, 1 seed)"
        )


def test_a_better_row_without_a_common_seed_gives_way_to_the_next():
    records = [make(60), make(90, 2, "CoOp"), make(50, 1, "GDA"), make(40, 1, "TaskRes")]
    assert gains(results_table(records)) == [["CCLI to the best other", "+10.00 (GDA)"]]


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
    assert gains(table) == [
        ["CCLI to the best other", "-8.00 (CoOp)", "+11.00 (CoOp, 2 seeds)", "+1.00 (CoOp, 2 seeds)"]
    ]


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
