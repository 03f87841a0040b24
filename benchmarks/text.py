"""Sentences cut to their length against open_clip's encode_text on all tokens: python -m benchmarks.text

Through an untrained text tower of RN50's size (or demo-clip's), in batches of 64, as the feature store encodes them:
class prompts ("a photo of a {}.", the names of Caltech101) and all text concepts ("The photo is {}."). At full length
all batches cost the same, so one of eight is measured, and scaled. Both ways follow one another, --repeats times, and
the best of each counts. Prints seconds, their ratio, and the largest difference relative to a feature's norm.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import torch

from benchmarks.coop import names_of_caltech101, untrained
from ccli.clip.model import FrozenClip
from ccli.clip.prompts import CONCEPT_TEMPLATE, DEFAULT_TEMPLATE
from ccli.clip.text_batches import encode_texts
from ccli.concepts.vocabulary import read_vocabulary
from ccli.features.encoder import BATCH


def at_full_length(clip: FrozenClip, texts: Sequence[str]) -> tuple[float, torch.Tensor, list[int]]:
    """Seconds of all batches, and the features of those that were measured, and of which texts they are."""
    starts = range(0, len(texts), 8 * BATCH)
    features, start = [], time.perf_counter()
    for k in starts:
        batch = [*texts[k : k + BATCH], *[""] * BATCH][:BATCH]
        with torch.inference_mode():
            features.append(clip.model.encode_text(clip.tokenize(batch)).float())
    seconds = (time.perf_counter() - start) * -(-len(texts) // BATCH) / len(starts)
    rows = [j for k in starts for j in range(k, k + BATCH)]
    kept = [j < len(texts) for j in rows]
    return seconds, torch.cat(features)[kept], [j for j in rows if j < len(texts)]


def cut(clip: FrozenClip, texts: Sequence[str]) -> tuple[float, torch.Tensor]:
    """Seconds and features as the store has them encoded."""
    start, order, features = time.perf_counter(), [], []
    for rows, some in encode_texts(clip, texts, range(len(texts)), BATCH, "texts"):
        order.extend(rows)
        features.append(some)
    return time.perf_counter() - start, torch.cat(features)[torch.tensor(order).argsort()]


def measure(clip: FrozenClip, texts: Sequence[str], repeats: int) -> tuple[float, float, float]:
    """Seconds at full length and cut, and the largest relative difference."""
    slow, fast = [], []
    for _ in range(repeats):
        slow.append(at_full_length(clip, texts))
        fast.append(cut(clip, texts))
    _, expected, rows = slow[0]
    apart = (fast[0][1][rows] - expected).norm(dim=-1) / expected.norm(dim=-1)
    return min(s[0] for s in slow), min(f[0] for f in fast), float(apart.max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="RN50-quickgelu", help="of open_clip, or demo-clip (default: RN50's)")
    parser.add_argument("--concepts", type=int, help="how many of the text concepts (default: all)")
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
    clip = untrained(args.architecture)
    clip.encode_text([""])  # loads the model
    sets = {
        "class prompts": [DEFAULT_TEMPLATE.format(name) for name in names_of_caltech101()],
        "text concepts": [CONCEPT_TEMPLATE.format(name) for name in read_vocabulary().names[: args.concepts]],
    }
    print(f"{args.architecture}, {torch.get_num_threads()} threads")
    total = torch.zeros(2)
    for name, texts in sets.items():
        slow, fast, apart = measure(clip, texts, args.repeats)
        total += torch.tensor([slow, fast])
        print(
            f"{len(texts)} {name}: {clip.text_tower.context_length} tokens {slow:.2f} s, cut {fast:.2f} s: "
            f"{slow / fast:.1f} times as fast; features differ by {apart:.1e} of their norm"
        )
    print(f"together: {total[0] / total[1]:.1f} times as fast")


if __name__ == "__main__":
    main()
