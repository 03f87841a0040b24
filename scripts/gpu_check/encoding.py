"""(c) Images per second from files to features against the model alone, and what bounds them."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from benchmarks.generated import images
from ccli.clip.model import FrozenClip
from ccli.features import crops
from ccli.features.decoding import open_image
from ccli.features.encoder import BATCH, FeatureEncoder
from gpu_check.figures import Figures
from gpu_check.models import FULL, random_model
from gpu_check.setting import Setting

TARGET = 0.9
SIZES = {"500x375": (500, 375), "256x256": (256, 256)}  # pixels of the JPEG files


def run(setting: Setting, figures: Figures) -> None:
    pictures = {name: _pictures(setting, size) for name, size in SIZES.items()}
    clips = {name: FrozenClip(random_model(setting, name), setting.device) for name in FULL}
    bare = {name: _bare(setting, clip) for name, clip in clips.items()}
    for name, rate in bare.items():
        figures.add(f"{name}: the model alone", rate, "images/s")
    for size, paths in pictures.items():
        decoded = _decoding(setting, next(iter(clips.values())), paths)
        figures.add(f"files of {size}: decoding alone, all cores", decoded, "images/s")
        try:
            rate = _torchvision(setting, paths)
            figures.add(f"files of {size}: decoding by torchvision on {setting.device}", rate, "images/s")
        except Exception as error:
            figures.fail(f"files of {size}, decoding by torchvision", error)
        for name, clip in clips.items():
            rate = _end_to_end(setting, clip, paths)
            figures.add(f"{name}, files of {size}: files to features", rate, "images/s")
            bound, part = min((decoded, "decoding"), (bare[name], "the model"))
            share = f"{name}, files of {size}: share of {part} alone, the bound"
            figures.add(share, rate / bound, at_least=setting.size(TARGET, None))


def _pictures(setting: Setting, size: tuple[int, int]) -> list[Path]:
    """JPEG files; a few different ones, copied."""
    count, different = setting.size((2048, 128), (8, 4))
    folder = setting.work / "pictures" / f"{size[0]}x{size[1]}"
    if folder.exists():
        return sorted(folder.iterdir())
    paths = images(folder, different, size, "jpg")
    copies = [folder / f"{path.stem}_{k}.jpg" for k in range(1, count // different) for path in paths]
    for k, copy in enumerate(copies):
        shutil.copy(paths[k % different], copy)
    return paths + copies


def _bare(setting: Setting, clip: FrozenClip) -> float:
    """Images per second of the model on a batch that is on the device already."""
    size, repeats = clip.facts.image_size, setting.size(8, 1)
    batch = torch.randn(setting.size(BATCH, 4), 3, size, size, device=setting.device)

    def work() -> None:
        for _ in range(repeats):
            clip.encode_image(batch)

    return repeats * len(batch) / setting.seconds(work, setting.size(3, 1))


def _end_to_end(setting: Setting, clip: FrozenClip, paths: list[Path]) -> float:
    """Through the encoder, without a store; once to warm up on a part."""
    FeatureEncoder(clip, None, setting.work).images(paths[: len(paths) // 4])
    return len(paths) / setting.once(lambda: FeatureEncoder(clip, None, setting.work).images(paths))


def _decoding(setting: Setting, clip: FrozenClip, paths: list[Path]) -> float:
    """File to resized crop as the encoder does it, in a thread per core."""
    facts = clip.facts

    def decode(path: Path) -> None:
        crops.centre_crop(open_image(path), facts.image_size, facts.interpolation)

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return len(paths) / setting.once(lambda: list(pool.map(decode, paths)))


def _torchvision(setting: Setting, paths: list[Path]) -> float:
    """torchvision's JPEG decoder in batches; without resizing."""
    from torchvision.io import ImageReadMode, decode_jpeg, read_file

    files = [read_file(str(path)) for path in paths]

    def work() -> None:
        for start in range(0, len(files), BATCH):
            decode_jpeg(files[start : start + BATCH], mode=ImageReadMode.RGB, device=setting.device)

    return len(files) / setting.seconds(work, 1)
