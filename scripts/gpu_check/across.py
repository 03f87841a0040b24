"""(h) A run made on the GPU labels pictures on a CPU, and the reverse."""

import json
import os
from pathlib import Path

from ccli.datasets.concept_shapes import ConceptShapes
from ccli.inference.saving import load_run
from gpu_check.figures import Figures
from gpu_check.setting import Setting, carry_out
from gpu_check.training import SHAPES, short

CLOSE = 0.01  # of probabilities


def run(setting: Setting, figures: Figures) -> None:
    pictures = sorted((ConceptShapes.folder(setting.data) / "images" / "test").rglob("*.png"))[:: setting.size(10, 4)]
    paths = [str(path) for path in pictures]
    for on in ("gpu", "cpu"):
        setting.use_store(f"made on the {on}")
        (made,) = setting.runs(SHAPES, ["CCLI"], setting.size(4, 2), "across", on, *short(setting))
        carry_out(made)
        setting.use_store(f"made on the {on}, labelled on the gpu")
        classifier = load_run(made.folder, setting.device)
        proba = classifier.predict_proba(paths)
        setting.use_store(f"made on the {on}, labelled on the cpu")
        found = _without_gpu(setting, made.folder, paths)
        labels, shares = [classifier.classnames[k] for k in proba.argmax(1)], proba.max(1)
        other = sum(one["label"] != label for one, label in zip(found, labels, strict=True))
        apart = max(abs(one["top"][0]["probability"] - share) for one, share in zip(found, shares))
        what = f"made on the {on.upper()}, labelled on both"
        figures.add(f"{what}: other labels", other, f"of {len(pictures)}", at_most=len(pictures) // 100)
        figures.add(f"{what}: greatest difference of the probability", apart, at_most=CLOSE)


def _without_gpu(setting: Setting, folder: Path, paths: list[str]) -> list[dict]:
    """What `ccli predict` says where it sees no GPU."""
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # heeded by new processes; CUDA has started in this one
    try:
        lines = setting.command("predict", "--json", "--model-dir", str(folder), *paths).splitlines()
    finally:
        del os.environ["CUDA_VISIBLE_DEVICES"]
        os.environ |= {} if before is None else {"CUDA_VISIBLE_DEVICES": before}
    return [json.loads(line) for line in lines]
