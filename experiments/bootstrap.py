"""The standard error of a difference between two methods, over test images and over draws of shots."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ccli.errors import CcliError

RESAMPLES = 2000


class Difference(NamedTuple):
    points: float  # percentage points, the first method less the second
    error: float  # its standard error


def difference(first: Sequence[dict[str, Any]], second: Sequence[dict[str, Any]]) -> Difference:
    """The mean difference in accuracy over the seeds that both have, and its bootstrap standard error.

    Seeds (draws) and test images are resampled independently of each other, pairs staying together. Where all seeds
    draw the same shots they are no replicates, and the error is that of the test images alone.

    Args:
        first, second: records of one data set and number of shots, one per seed.

    Raises:
        CcliError: no seed in common, or other test images.
    """
    ours, theirs = ({record["seed"]: record for record in several} for several in (first, second))
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        raise CcliError("no seed that both methods have; run them with the same seeds")
    rows = []
    for seed in seeds:
        a, b = ours[seed], theirs[seed]
        if a["labels"] != b["labels"]:
            raise CcliError(f"seed {seed} of {a['trainer']} and {b['trainer']} was not tested on the same images")
        labels = np.asarray(a["labels"])
        rows.append((a["predictions"] == labels).astype(float) - (b["predictions"] == labels))
    found = np.stack(rows)  # [seeds, images], each -1, 0 or 1
    rng, (draws, images) = np.random.default_rng(0), found.shape
    by_seed = rng.multinomial(draws, np.full(draws, 1 / draws), RESAMPLES) / draws  # [resamples, seeds]
    by_image = rng.multinomial(images, np.full(images, 1 / images), RESAMPLES) / images
    means = ((by_seed @ found) * by_image).sum(1)
    return Difference(100 * float(found.mean()), 100 * float(means.std(ddof=1)))
