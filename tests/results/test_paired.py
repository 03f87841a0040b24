"""Paired tests against enumerations written out here."""

from fractions import Fraction
from itertools import product
from math import comb

import pytest
from table_records import make

from ccli.errors import CcliError
from ccli.results.paired import holm, mcnemar_p, paired_tests, wilcoxon_p


def run(right, seed=1, trainer="CCLI", labels=None, **other):
    """A record with the images of `right` (a string of 0 and 1) classified rightly."""
    labels = labels or [k % 3 for k in range(len(right))]
    predictions = [label if good == "1" else label + 1 for good, label in zip(right, labels, strict=True)]
    return make(right.count("1"), seed, trainer, total=len(right), predictions=predictions, labels=labels, **other)


def signed_rank_p(differences):
    """Two-sided p of the signed-rank sum, from all 2^n signs; equal sizes share the mean of their ranks."""
    sizes = [abs(d) for d in differences]
    ranks = [sum(s < size for s in sizes) + Fraction(sizes.count(size) + 1, 2) for size in sizes]
    observed = sum(rank for rank, d in zip(ranks, differences) if d > 0)
    sums = [sum(rank for rank, sign in zip(ranks, signs) if sign) for signs in product((0, 1), repeat=len(differences))]
    tails = sum(s >= observed for s in sums), sum(s <= observed for s in sums)
    return min(1, 2 * min(tails) / len(sums))


@pytest.mark.parametrize(
    "differences",
    [
        [1],
        [-3, 2],
        [1, 2, 3, 4, 5, 6],  # 2 / 2^6 = 0.03125
        [1, -2, 3, 4, -5, 6, 7],
        [1, 1, -1, 2, 2, 3],  # equal sizes
        [-4, -4, -4, 1, 2, 2, -7, 9],
    ],
)
def test_wilcoxon_is_the_enumeration_of_signs(differences):
    thirds = [Fraction(d, 300) for d in differences]
    assert wilcoxon_p(thirds) == pytest.approx(signed_rank_p(differences), rel=1e-9)


def test_wilcoxon_of_six_gains_and_of_none():
    assert wilcoxon_p([Fraction(k, 100) for k in range(1, 7)]) == pytest.approx(0.03125)
    assert wilcoxon_p([]) is None


@pytest.mark.parametrize(("b", "c"), [(9, 1), (0, 6), (5, 5), (30, 14), (1, 0)])
def test_mcnemar_is_a_binomial_sum(b, c):
    """Of n fair coins, at most min(b, c) on one side, twice."""
    n = b + c
    expected = min(1, 2 * sum(comb(n, k) for k in range(min(b, c) + 1)) / 2**n)
    assert mcnemar_p(b, c) == mcnemar_p(c, b) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_without_a_difference():
    assert mcnemar_p(0, 0) == 1.0


def test_holm_by_hand():
    # sorted 0.01 * 4, 0.02 * 3, 0.03 * 2 (as high as the one before), 0.9 * 1
    assert holm([0.03, 0.01, 0.9, 0.02]) == pytest.approx([0.06, 0.04, 0.9, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([]) == []


def test_a_comparison_by_hand():
    records = [run("1111111111", seed) for seed in (1, 2)] + [run("1100000000", 3)]
    records += [run("0000000011", 1, "CoOp"), run("1111111111", 2, "CoOp"), run("1111000000", 4, "CoOp")]
    (test,) = paired_tests(records)
    assert (test.name, test.other, test.trained_on) == ("CCLI", "CoOp", "")
    # seeds 1 and 2 are both's: 100 - 20 and 100 - 100, mean 40; one difference other than 0 has p 1
    assert (test.pairs, test.equal, test.difference, test.p) == (2, 1, 40.0, 1.0)
    # seed 1: eight images right in CCLI alone, p = 2 / 2^8, twice that after Holm; seed 2: none, p = 1
    assert test.images == (("dtd", 16, 1, 8, 0, 2 / 256, 4 / 256), ("dtd", 16, 2, 0, 0, 1.0, 1.0))
    assert (test.better, test.worse) == (1, 0)
    (turned,) = paired_tests(records, "CoOp")
    assert (turned.name, turned.difference, turned.better, turned.worse) == ("CoOp", -40.0, 0, 1)


def test_holm_decides_what_is_better():
    """2 / 2^6 = 0.03125 is below 5 % alone, and not among two."""
    six, none = run("111111"), run("000000", trainer="CoOp")
    assert [test.better for test in paired_tests([six, none])] == [1]
    (test,) = paired_tests([six, none, run("111111", 2), run("000000", 2, "CoOp")])
    assert test.better == 0 and [image.adjusted for image in test.images] == [0.0625, 0.0625]


def test_pairs_are_over_data_sets_shots_and_seeds():
    where = [{"dataset": d, "shots": n, "seed": s} for d in ("dtd", "cars") for n in (1, 4) for s in (1, 2)]
    ours, theirs = ["10000000", "11111100"], "00000000"
    records = [run(ours[k % 2], **w) for k, w in enumerate(where)] + [run(theirs, trainer="GDA", **w) for w in where]
    (test,) = paired_tests(records)
    # 1/8 and 6/8 in turn: eight gains, p = 2 / 2^8; mean 43.75 points
    assert (test.pairs, test.equal, test.difference) == (8, 0, 43.75) and test.p == pytest.approx(2 / 256)
    assert {image[:3] for image in test.images} == {tuple(w.values()) for w in where}


def test_equal_methods_have_no_p():
    (test,) = paired_tests([run("1100"), run("0011", trainer="CoOp")])
    assert (test.equal, test.difference, test.p) == (1, 0.0, None)
    assert test.images[0][3:6] == (2, 2, 1.0)


def test_images_only_where_the_labels_are_the_same():
    (test,) = paired_tests([run("1100"), run("0001", trainer="CoOp", labels=[5, 5, 5, 5])])
    assert (test.pairs, test.difference, test.images) == (1, 25.0, ())


def test_what_is_compared_with_what():
    records = [
        run("1111"), run("1110", cfg="plain"), run("1000", trainer="CoOp"),
        run("0100", trainer="GDA", backbone="RN101"), run("0000", 2, "Zero"),
        run("1100", trainer="CoOp", protocol="paper", selected_by="test"),
    ]  # fmt: skip
    names = [(test.name, test.other) for test in paired_tests(records)]
    assert names == [(f"CCLI ({cfg}, RN50)", f"CoOp (RN50){mark}") for cfg in ("rn50", "plain") for mark in ("", " †")]
    assert paired_tests(records[2:]) == [] == paired_tests([])


def test_tests_on_other_data_sets_are_a_comparison_of_their_own():
    def row(trainer, source, *targets):
        tests = [run(t, trainer=trainer, dataset=d, trained_on="dtd", run="f") for d, t in zip("ab", targets)]
        return [*tests, run(source, trainer=trainer)]

    zero = [run("0000", trainer="Zero", dataset="a"), run("1000", trainer="Zero")]  # not trained on dtd
    tests = paired_tests([*row("CCLI", "1111", "1110", "1100"), *row("CoOp", "1100", "1000", "1000"), *zero])
    found = [(test.other, test.trained_on, test.pairs, test.difference) for test in tests]
    # runs: 100 - 50, and 100 - 25; targets: (75 - 25 + 50 - 25) / 2
    assert found == [("CoOp", "", 1, 50.0), ("Zero", "", 1, 75.0), ("CoOp", "dtd", 2, 37.5)]
    assert [image.dataset for image in tests[2].images] == ["a", "b"]


def test_one_record_twice_is_one_pair_and_two_are_refused():
    records = [run("1111"), run("1111"), run("0000", trainer="CoOp")]
    assert paired_tests(records)[0].pairs == 1
    with pytest.raises(CcliError, match="two different records for dtd, CCLI, rn50, 16 shots, seed 1"):
        paired_tests([*records, run("1110")])
