"""A mean is over seeds of one experiment: records made with other options or on other images are refused by name."""

import pytest
from table_records import cells, make, results_table

from ccli.errors import CcliError
from ccli.results.conflicts import Conflict


def config(seed, top_k=3, trainer="CCLI", **other):
    """A record's options, as far as these tests care; `other` are sections."""
    return {
        "SEED": seed,
        "DATASET": {"NUM_SHOTS": 16, "BUNDLE": "", "PICKS": ""} | other.pop("DATASET", {}),
        "TRAINER": {"NAME": trainer, "CCLI": {"TOP_K": top_k}, "GDA": {"WEIGHT": 1.0}},
        "PROTOCOL": "validation",
    } | other


def two(first, second, trainer="CCLI"):
    """Two seeds with these options."""
    return [make(60, 1, trainer, config=first), make(62, 2, trainer, config=second)]


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (config(2, 5), r"different options \(TRAINER.CCLI.TOP_K 3 and 5\); give .* VARIANT .* one table for each"),
        (config(2, DATASET={"BUNDLE": "a.npz 12"}), r"\(DATASET.BUNDLE '' and 'a.npz 12'\)"),
        (config(2, DATASET={"PICKS": "p.json 12"}), r"\(DATASET.PICKS '' and 'p.json 12'\)"),
        (config(2, FEATURES={"VIEWS": 10}), r"\(FEATURES.VIEWS not set and 10\)"),
        (config(2, 5, PROTOCOL="fixed"), r"\(PROTOCOL 'validation' and 'fixed', and 1 more\)"),
    ],
)
def test_seeds_of_other_options_are_refused(second, words):
    with pytest.raises(CcliError, match=r"seeds 1 and 2 of dtd, CCLI, rn50, 16 shots were made with .*" + words):
        results_table(two(config(1), second))


def test_what_may_differ_between_seeds():
    """The seed and its list of picks, what a machine needs, and options of other trainers."""
    picks = [config(seed, DATASET={"PICKS": f"seed{seed}.json {seed}"}) for seed in (1, 2)]
    machine = config(2, USE_CUDA=False, VERBOSE=False, TEST={"SPLIT": "test"}, DATALOADER={"NUM_WORKERS": 8})
    for records in (
        two(config(1), config(2)),
        two(*picks),
        two(config(1), machine),
        two(config(1, trainer="GDA"), config(2, 5, trainer="GDA"), "GDA"),
        two("a text", "another text"),
    ):
        assert cells(results_table(records))[1][1] == "61.00 ± 1.41"
    with pytest.raises(Conflict, match=r"TRAINER.CCLI.TOP_K"):  # nobody knows what a stranger reads
        results_table(two(config(1, trainer="Theirs"), config(2, 5, trainer="Theirs"), "Theirs"))


def test_rows_and_tests_elsewhere_have_options_of_their_own():
    variant = [make(50, 1, cfg="rn50/top5", config=config(1, 5)), make(50, 2, cfg="rn50/top5", config=config(2, 5))]
    elsewhere = [
        make(40, seed, dataset="cars", trained_on="dtd", run="f", config=config(seed, seed)) for seed in (1, 2)
    ]
    assert len(cells(results_table([*two(config(1), config(2)), *variant, *elsewhere]))) == 3


def images(seed, labels, names=("dotted", "lined"), **other):
    shares = [{"name": name, "correct": 0, "total": labels.count(k)} for k, name in enumerate(names)]
    return make(0, seed, total=len(labels), labels=labels, per_class=shares, **other)


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (images(2, [0, 1, 1]), "2 and 3 images"),
        (images(2, [1, 0]), "the same number of images, with other labels"),
        (images(2, [0, 1], ("dotted", "striped")), "a class that is 'lined' and 'striped'"),
        (images(2, [0, 1], ("dotted", "lined", "striped")), "2 and 3 classes"),
    ],
)
@pytest.mark.parametrize("where", [{}, {"trained_on": "cars", "run": "f"}])
def test_seeds_on_other_test_images_are_refused(second, words, where):
    with pytest.raises(Conflict, match=rf"seeds 1 and 2 of .* on different images \({words}\).*one table for each"):
        results_table([images(1, [0, 1]) | where, second | where])
    assert results_table([images(1, [0, 1]) | where, images(2, [0, 1]) | where])
