"""The words nearest to a learned context: for each of its vectors, those whose embeddings are closest (Euclidean).

RUN is the output folder of one of this repository's CoOp runs, which records its backbone, or a run of CoOp's own code
(or one of its checkpoints), which does not: give --backbone. No code in a checkpoint is executed.

Each line is a vector of the context, in order: words, each with its distance. "pho-" is a piece that begins or
continues a word. Distances are usually far above those between words (printed for comparison): then nothing in the
vocabulary is near, and the vectors cannot be read as words. After CoOp's script (Zhou et al., IJCV 2022).
"""

import json
from pathlib import Path

from ccli.commands.parser import Parser, positive
from ccli.errors import CcliError

EXAMPLES = """
examples:
  PROG output/concept_shapes/CoOp/demo_clip_16shots/seed1
  PROG DOWNLOADED/rn50_ep50_16shots/seed1 --backbone RN50 --top 3
"""


def main(argv: list[str], prog: str) -> int:
    parser = Parser(prog, __doc__, EXAMPLES)
    parser.add_argument("run", metavar="RUN", help="a run's output folder, or a checkpoint of CoOp")
    parser.add_argument("topk", metavar="TOP", type=positive, nargs="?", help="the same as --top, as in CoOp's script")
    parser.add_argument("--top", type=positive, default=5, help="words for each vector (default: 5)")
    parser.add_argument("--backbone", default="", help="RN50, ViT-B/16 ... (default: the run's)")
    args = parser.parse_args(argv)
    top = args.topk or args.top
    ctx, backbone, names = read_run(Path(args.run).expanduser(), args.backbone)
    from ccli.clip.model import FrozenClip

    clip = FrozenClip(backbone)
    vocabulary = clip.text_tower.token_embedding.weight
    if ctx.shape[-1] != vocabulary.shape[1]:
        raise CcliError(
            f"the context's vectors are {ctx.shape[-1]} wide and the words of {backbone} {vocabulary.shape[1]}; "
            "give the backbone it was learned with as --backbone"
        )
    per_class = ctx.ndim == 3
    print(f"context of {ctx.shape[-2]} vectors{' for each class' if per_class else ''}, backbone {backbone}")
    print(f"a word of its {len(vocabulary)} is typically {typical_distance(vocabulary):.4f} from the next")
    for k, vectors in enumerate(ctx if per_class else [ctx]):
        if per_class:
            print(f"\n{names[k] if names and k < len(names) else f'class {k}'}")
        print("\n".join(words_of(vectors, vocabulary, top, clip.token_text)))
    return 0


def read_run(run: Path, backbone: str) -> tuple:
    """(ctx [M, width] or [N, M, width], backbone, names of the N classes or None) of a run of either kind."""
    from ccli.inference.coop_checkpoints import read_context

    if not (run / "run.json").is_file():
        context = read_context(run)
        if not backbone:
            raise CcliError(f"{context.path} does not record its backbone; give it, such as --backbone RN50")
        return context.ctx, backbone, None
    from ccli.trainers.common.checkpoints import HEAD, has_checkpoint, read_checkpoint, read_options

    options = read_options(run)
    if not has_checkpoint(str(run), HEAD):
        raise CcliError(f"{run} holds a run without a checkpoint; finish that run")
    state = read_checkpoint(run / HEAD)
    if "ctx" not in state:
        trainer = options.get("TRAINER", {}).get("NAME")
        raise CcliError(f"{run} holds a run of {trainer}, which learns no context; give one of CoOp")
    names = json.loads((run / "run.json").read_text(encoding="utf-8"))["classnames"]
    return state["ctx"].float(), backbone or options["MODEL"]["BACKBONE"]["NAME"], names


def nearest_words(ctx, vocabulary, top: int) -> tuple:
    """Distances and ids, both [M, top], of the rows of vocabulary [V, width] nearest to each row of ctx [M, width]."""
    import torch

    distances = torch.cdist(ctx.double(), vocabulary.double())  # [M, V]; float32 would lose the small ones
    return tuple(distances.topk(min(top, len(vocabulary)), largest=False))


def typical_distance(vocabulary) -> float:
    """The median, over 256 words spread over the vocabulary, of the distance to the nearest other word."""
    import torch

    some = torch.linspace(0, len(vocabulary) - 1, 256).long()
    return float(nearest_words(vocabulary[some], vocabulary, 2)[0][:, 1].median())


def words_of(ctx, vocabulary, top: int, text_of) -> list[str]:
    """A line for each of the M vectors."""
    lines = []
    for k, (distances, ids) in enumerate(zip(*nearest_words(ctx, vocabulary, top)), 1):
        words = [word(text_of(token)) for token in ids.tolist()]
        lines.append(f"{k}: " + "  ".join(f"{text} {distance:.4f}" for text, distance in zip(words, distances)))
    return lines


def word(text: str) -> str:
    """A token's text as it is printed: a piece of a word ends in "-", "<end_of_text>" and its like do not."""
    text = text.strip() if text.endswith((" ", ">")) else f"{text}-"
    return text if text.isprintable() else repr(text)
