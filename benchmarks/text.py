"""Texts cut to their length against open_clip's encode_text on all tokens: python -m benchmarks.text

Through an untrained text tower, in batches of 64, as the feature store encodes them: class prompts ("a photo of a {}.",
the names of Caltech101) and all text concepts ("The photo is {}."). At full length all batches cost the same, so one of
eight is measured, and scaled. Prints the best seconds of --repeats calls of each way, their ratio, and the largest
difference relative to a feature's norm.
"""

from collections.abc import Sequence

import torch

from benchmarks.console import fastest, flag, script
from benchmarks.coop import NAMES
from benchmarks.generated import untrained
from ccli.clip.model import FrozenClip, encode_texts
from ccli.clip.prompts import CONCEPT_TEMPLATE, DEFAULT_TEMPLATE
from ccli.concepts.vocabulary import read_vocabulary
from ccli.features.encoder import BATCH


def at_full_length(clip: FrozenClip, texts: Sequence[str], starts: Sequence[int]) -> torch.Tensor:
    """Features of the texts in the batches that begin at `starts`."""
    features = []
    for k in starts:
        batch = [*texts[k : k + BATCH], *[""] * BATCH][:BATCH]
        with torch.inference_mode():
            features.append(clip.model.encode_text(clip.tokenize(batch)).float()[: len(texts) - k])
    return torch.cat(features)


def cut(clip: FrozenClip, texts: Sequence[str]) -> torch.Tensor:
    """Features as the store has them encoded."""
    rows, features = zip(*encode_texts(clip, texts, range(len(texts)), BATCH, "texts"))
    return torch.cat(features)[torch.tensor([row for some in rows for row in some]).argsort()]


def measure(clip: FrozenClip, texts: Sequence[str], repeats: int) -> tuple[float, float, float]:
    """Seconds at full length and cut, and the largest relative difference."""
    starts = range(0, len(texts), 8 * BATCH)
    works = [lambda: at_full_length(clip, texts, starts), lambda: cut(clip, texts)]
    (slow, fast), (expected, found) = fastest(repeats, works)
    rows = [j for k in starts for j in range(k, min(k + BATCH, len(texts)))]
    apart = (found[rows] - expected).norm(dim=-1) / expected.norm(dim=-1)
    return slow * -(-len(texts) // BATCH) / len(starts), fast, float(apart.max())


@script
@flag("--architecture", default="RN50-quickgelu", help="of open_clip, or demo-clip")
@flag("--concepts", type=int, help="how many of the text concepts, instead of all")
@flag("--repeats", type=int, default=2, help="calls of each way")
def main(args) -> None:
    sets = {
        "class prompts": [DEFAULT_TEMPLATE.format(name) for name in NAMES],
        "text concepts": [CONCEPT_TEMPLATE.format(name) for name in read_vocabulary().names[: args.concepts]],
    }
    print(f"{args.architecture}, {torch.get_num_threads()} threads")
    clip, total = FrozenClip(untrained(args.architecture, args.scratch)), torch.zeros(2)
    clip.encode_text([""])  # loads the model
    for name, texts in sets.items():
        slow, fast, apart = measure(clip, texts, args.repeats)
        total += torch.tensor([slow, fast])
        print(
            f"{len(texts)} {name}: {clip.text_tower.context_length} tokens {slow:.2f} s, cut {fast:.2f} s: "
            f"{slow / fast:.1f} times as fast; features differ by {apart:.1e} of their norm"
        )
    print(f"together: {total[0] / total[1]:.1f} times as fast")
