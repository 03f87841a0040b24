"""Whether one method is better than another on the same data sets, shots and seeds: two paired tests.

Wilcoxon's signed-rank test asks it of accuracies, one pair for each (data set, shots, seed) that both methods have.
Pairs of equal accuracy are dropped, as Wilcoxon did (scipy's zero_method "wilcox"): under the null hypothesis that
each difference is as likely as its opposite they can go neither way; their number is reported. scipy counts all
2^n signs where n <= 50 and no two differences are of one size, or n <= 13, and otherwise takes the normal
approximation. Pairs on one data set share its test images and are not independent, so that p speaks about these data
sets, and p is too small as evidence about others (Demsar, JMLR 7, 2006, has one pair per data set for that).
Source: F. Wilcoxon, Individual comparisons by ranking methods, Biometrics Bulletin 1 (1945).

McNemar's exact test asks it of images, for each pair by itself: of the images that exactly one of the two gets right,
half would fall to each. It is not pooled over pairs, because the same images come again with every seed and number of
shots, and a pooled test would count them as new ones. Instead, the p of a comparison's pairs are corrected after Holm,
which needs no independence, and pairs that are better or worse at 5 % are counted.
Sources: Q. McNemar, Psychometrika 12 (1947); T. Dietterich, Approximate statistical tests for comparing supervised
classification learning algorithms, Neural Computation 10 (1998); S. Holm, Scandinavian Journal of Statistics 6 (1979).

Runs, and tests of a source's runs on other data sets (records with `trained_on`), are never mixed in one comparison.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from ccli.results.aggregate import Row, records_by_seed, row_names

LEVEL = 0.05
Pair = tuple[str, int, int]  # data set, shots, seed


class ImageTest(NamedTuple):
    """McNemar's test of one pair of runs on the same test images."""

    dataset: str
    shots: int
    seed: int
    only_first: int  # images that only the first method gets right
    only_second: int
    p: float  # two-sided, exact
    adjusted: float  # p after Holm's correction for all pairs of the comparison


class PairedTest(NamedTuple):
    """One method against another."""

    name: str
    other: str
    trained_on: str  # "" for runs, else the source whose runs were tested on other data sets
    pairs: int  # (data set, shots, seed) that both have
    equal: int  # of them, with the same accuracy
    difference: float  # percentage points, mean over the pairs
    p: float | None  # Wilcoxon's, two-sided; None where all pairs are equal
    images: tuple[ImageTest, ...]  # of the pairs with the same test images

    @property
    def better(self) -> int:
        """Pairs in which the first method is better by McNemar's test, after Holm's correction."""
        return sum(test.adjusted <= LEVEL and test.only_first > test.only_second for test in self.images)

    @property
    def worse(self) -> int:
        """Likewise, pairs in which it is worse."""
        return sum(test.adjusted <= LEVEL and test.only_first < test.only_second for test in self.images)


def paired_tests(records: Iterable[dict[str, Any]], trainer: str = "CCLI") -> list[PairedTest]:
    """Each row of a trainer against each row of the other trainers with the same backbone.

    Args:
        records: as `ccli.results.records.read_record` returns them; identical ones count once.
        trainer: the one whose rows come first in each comparison; with no records of it there are none.

    Returns:
        comparisons with at least one pair, in the records' order; runs before tests on other data sets.

    Raises:
        CcliError: two different records for one seed of a cell.
    """
    # A method's runs are one group whether or not some of them were tested elsewhere, too.
    groups: dict[str, dict[Row, dict[Pair, dict[str, Any]]]] = defaultdict(lambda: defaultdict(dict))
    methods: dict[Row, None] = {}
    for (row, task, seed), record in records_by_seed(list(records)).items():
        method = row._replace(trained_on="")
        groups[record.get("trained_on", "")][method][task.dataset, task.shots, seed] = record
        methods[method] = None
    names = row_names(list(methods))
    tests = []
    for source in sorted(groups):
        found = groups[source]
        for row in found:
            for other in found if row.trainer == trainer else ():
                pairs = [(found[row][key], found[other][key]) for key in found[row] if key in found[other]]
                if other.trainer != trainer and other.backbone == row.backbone and pairs:
                    tests.append(_compare(names[row], names[other], source, pairs))
    return tests


def _compare(name: str, other: str, source: str, pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> PairedTest:
    differences = [Fraction(a["correct"], a["total"]) - Fraction(b["correct"], b["total"]) for a, b in pairs]
    unequal = [difference for difference in differences if difference]
    points = float(100 * sum(differences) / len(differences))
    equal = len(differences) - len(unequal)
    return PairedTest(name, other, source, len(pairs), equal, points, wilcoxon_p(unequal), _images(pairs))


def wilcoxon_p(differences: Sequence[Fraction]) -> float | None:
    """Two-sided p of Wilcoxon's signed-rank test of differences other than 0; None where there are none."""
    from scipy import stats

    if not differences:
        return None
    return float(stats.wilcoxon([float(difference) for difference in differences], zero_method="wilcox").pvalue)


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Two-sided exact p of McNemar's test from the numbers of images that one alone gets right; 1 where both are 0."""
    from scipy import stats

    either = only_first + only_second
    return float(stats.binomtest(only_first, either).pvalue) if either else 1.0


def holm(values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in their order: the k-th smallest of n times n - k + 1, never falling, at most 1."""
    adjusted, highest = [0.0] * len(values), 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = highest
    return adjusted


def _images(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> tuple[ImageTest, ...]:
    """McNemar's tests; equal lists of labels say that the test images, which have one order, are the same."""
    found = []
    for a, b in pairs:
        if a["labels"] == b["labels"]:
            right = [(p == label, q == label) for p, q, label in zip(a["predictions"], b["predictions"], a["labels"])]
            counts = right.count((True, False)), right.count((False, True))
            found.append((a["dataset"], a["shots"], a["seed"], *counts, mcnemar_p(*counts)))
    return tuple(ImageTest(*test, adjusted) for test, adjusted in zip(found, holm([test[-1] for test in found])))
