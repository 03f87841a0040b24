"""Train demo-clip from scratch: a small CLIP for the generated pictures of `datasets/scenes`, no download needed.

    python -m scripts.demo_clip.train --out ccli/clip/demo_clip

Draws captioned scenes (no object in them has the parts of a concept_shapes class) and trains image and text towers
with CLIP's symmetric cross-entropy between images and captions, and between images and one-word captions ("The photo
is striped."): all words that are true of a scene against all that are not. Writes float16 weights as safetensors and
prints one log line.
"""

import argparse
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import open_clip
import torch
from open_clip.factory import create_model
from safetensors.torch import save_file
from torch.nn import functional as F
from tqdm import tqdm

from ccli.datasets.scenes.render import SIZE, render
from ccli.files.atomic import moved_into_place
from scripts.demo_clip.captions import caption, open_scene
from scripts.demo_clip.words import all_words, words_of_scene

CAPTIONS_PER_IMAGE = 6
TEST_PAIRS = 2000


def main() -> None:
    args = _arguments()
    if not (Path(args.out) / "open_clip_config.json").is_file():
        raise SystemExit(f"error: {args.out} has no open_clip_config.json; copy the one in ccli/demo_clip there")
    torch.manual_seed(args.seed)
    start = time.time()
    images, texts, true = make_pairs(args.pairs + TEST_PAIRS, args.seed)
    model = create_model(f"local-dir:{args.out}", load_weights=False)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{args.out}")
    mean, std = (torch.tensor(model.visual.preprocess_cfg[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    tokens = tokenizer([t for row in texts for t in row]).view(len(images), CAPTIONS_PER_IMAGE, -1)
    drawn = time.time()
    images = torch.from_numpy(images)

    def pixels(rows: torch.Tensor) -> torch.Tensor:
        return (images[rows].permute(0, 3, 1, 2).float() / 255 - mean) / std

    words = tokenizer([f"The photo is {word}." for word in all_words()])
    loss = train(model, pixels, tokens[:-TEST_PAIRS], words, torch.from_numpy(true), args)
    found = retrieval(model, pixels, tokens, args.pairs)
    write(model, args.out)
    print(
        f"demo-clip: seed {args.seed}, {args.pairs} pairs, {args.epochs} epochs, loss {loss:.3f}, "
        f"text found among 100 for {100 * found:.1f} % of {TEST_PAIRS} new images, "
        f"drawing {drawn - start:.0f} s, training {time.time() - drawn:.0f} s, {torch.get_num_threads()} threads"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", default="ccli/clip/demo_clip", help="folder with open_clip_config.json; weights go there"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=80_000, help="captioned images to draw")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--lr", type=float, default=3e-3)
    return parser.parse_args()


def make_pairs(count: int, seed: int) -> tuple[np.ndarray, list[list[str]], np.ndarray]:
    """Images [count, 64, 64, 3] uint8, CAPTIONS_PER_IMAGE captions each, which words are true [count, words]."""
    blocks = [(seed, b, min(1000, count - b)) for b in range(0, count, 1000)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        done = list(tqdm(pool.map(_block, *zip(*blocks)), total=len(blocks), desc="drawing", unit="thousand"))
    return (
        np.concatenate([d[0] for d in done]),
        [row for d in done for row in d[1]],
        np.concatenate([d[2] for d in done]),
    )


def _block(seed: int, first: int, count: int) -> tuple[np.ndarray, list[list[str]], np.ndarray]:
    rng, column = np.random.default_rng([seed, first]), {word: k for k, word in enumerate(all_words())}
    images, texts, true = np.empty((count, SIZE, SIZE, 3), np.uint8), [], np.zeros((count, len(column)), bool)
    for k in range(count):
        scene = open_scene(rng)
        images[k] = np.asarray(render(scene, rng))
        texts.append([caption(scene, rng) for _ in range(CAPTIONS_PER_IMAGE)])
        true[k, [column[word] for word in words_of_scene(scene)]] = True
    return images, texts, true


def train(model: torch.nn.Module, pixels, tokens, words, true, args: argparse.Namespace) -> float:
    """AdamW, linear warm-up then cosine, per step. Returns the last epoch's loss between images and captions."""
    steps = len(tokens) // args.batch * args.epochs
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    optim = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}], lr=args.lr, betas=(0.9, 0.98)
    )
    warm = 200
    sched = torch.optim.lr_scheduler.SequentialLR(
        optim,
        [
            torch.optim.lr_scheduler.LinearLR(optim, 0.01, total_iters=warm),
            torch.optim.lr_scheduler.CosineAnnealingLR(optim, max(1, steps - warm)),
        ],
        [warm],
    )
    bar = tqdm(total=steps, desc="training", unit="step", mininterval=5)
    model.train().to(memory_format=torch.channels_last)
    for _ in range(args.epochs):
        order, losses = torch.randperm(len(tokens)), []
        for rows in order[: len(order) // args.batch * args.batch].view(-1, args.batch):
            text = tokens[rows, torch.randint(CAPTIONS_PER_IMAGE, (args.batch,))]
            with torch.autocast("cpu", torch.bfloat16):  # two to three times faster; the text tower stays in float32
                f = model.encode_image(shift_and_crop(pixels(rows)).contiguous(memory_format=torch.channels_last))
            f, t = F.normalize(f.float(), dim=-1), encode_short(model, text)
            logits = model.logit_scale.exp() * f @ t.T  # [batch, batch]
            target = same_caption(text)
            loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
            one_word = word_loss(model.logit_scale.exp() * f @ encode_short(model, words).T, true[rows])
            optim.zero_grad()
            (loss + one_word).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optim.step()
            sched.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0, float(np.log(100)))
            losses.append(loss.item())
            bar.update()
            bar.set_postfix(loss=f"{np.mean(losses[-50:]):.3f}", words=f"{one_word.item():.3f}", refresh=False)
    return float(np.mean(losses))


def encode_short(model: torch.nn.Module, text: torch.Tensor) -> torch.Tensor:
    """model.encode_text, normalised, on the longest text's length: the causal mask makes the rest irrelevant."""
    length = int((text != 0).sum(1).max())
    x = model.token_embedding(text[:, :length]) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    return F.normalize(x[torch.arange(len(x)), text.argmax(1)] @ model.text_projection, dim=-1)


def word_loss(logits: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Each true word against all words that are not true of the image; logits and true are [batch, words]."""
    false = logits.masked_fill(true, float("-inf")).logsumexp(1, keepdim=True)
    return (torch.logaddexp(logits, false) - logits)[true].mean()


def same_caption(text: torch.Tensor) -> torch.Tensor:
    """Targets [batch, batch]: an image's own caption, shared with equal captions of the batch."""
    same = (text[:, None] == text[None]).all(-1).float()
    return same / same.sum(1, keepdim=True)


def shift_and_crop(images: torch.Tensor) -> torch.Tensor:
    """Crops of 50 to 100 % of the area for half of the images, flips for half: what augmented views look like."""
    n = len(images)
    side = torch.where(torch.rand(n) < 0.5, torch.ones(n), torch.empty(n).uniform_(0.5, 1).sqrt())
    slack = 1 - side
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = side * (1 - 2 * (torch.rand(n) < 0.5).float())
    theta[:, 1, 1] = side
    theta[:, :, 2] = (2 * torch.rand(n, 2) - 1) * slack[:, None]
    return F.grid_sample(images, F.affine_grid(theta, images.shape, align_corners=False), align_corners=False)


@torch.no_grad()
def retrieval(model: torch.nn.Module, pixels, tokens: torch.Tensor, first: int) -> float:
    """Share of new images whose own caption scores highest among 100 captions."""
    model.eval()
    rows = torch.arange(first, len(tokens))
    f = torch.cat([model.encode_image(pixels(r), normalize=True) for r in rows.split(250)])
    t = torch.cat([model.encode_text(tokens[r, 0], normalize=True) for r in rows.split(250)])
    groups = zip(f.split(100), t.split(100))
    return float(np.mean([((a @ b.T).argmax(1) == torch.arange(len(a))).float().mean() for a, b in groups]))


def write(model: torch.nn.Module, out: str) -> None:
    """Weights as float16 safetensors, moved into place when complete."""
    target = Path(out) / "open_clip_model.safetensors"
    half = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    with moved_into_place(target) as scratch:
        save_file(half, scratch, metadata={"trained_by": "scripts/demo_clip/train.py", "format": json.dumps("float16")})
    print(f"wrote {target}, {target.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
