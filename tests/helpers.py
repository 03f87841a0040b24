"""What several test files share: small bundles, and train.py in this process and in another one."""

import contextlib
import importlib.util
import io
import os
import subprocess
import sys
from pathlib import Path

import torch
from fork_server import Process, python
from torch.nn import functional as F

from ccli.features.bundles import Bundle, write_bundle
from ccli.features.task import FewShotTask, Split
from ccli.sweeps.config import setup_cfg
from ccli.sweeps.run import arguments

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "data"

torch.set_num_threads(1)


def unit_rows(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator), dim=-1)


def clustered(centres: torch.Tensor, per_class: int, seed: int, noise: float = 1.5) -> Split:
    """`per_class` features around each centre [N, D], classes one after another."""
    labels = torch.arange(len(centres)).repeat_interleave(per_class)
    images = centres[labels] + noise * unit_rows(len(labels), centres.shape[1], seed=seed)
    return Split(F.normalize(images, dim=-1), labels)


def make_bundle(classes: int = 6, width: int = 32, concepts: int = 40, pool: int = 16, val: int = 8) -> Bundle:
    """Clusters of images whose class texts are a little off, so that zero-shot is middling and shots help."""
    centres = unit_rows(classes, width, seed=1)
    text = F.normalize(centres + 1.5 * unit_rows(classes, width, seed=2), dim=-1)
    return Bundle(
        tuple(f"class {k}" for k in range(classes)), text, torch.full((classes,), 8.0), 20.0,
        train=clustered(centres, pool, 3), val=clustered(centres, val, 4) if val else None,
        test=clustered(centres, 20, 5), concepts=tuple(f"concept {k}" for k in range(concepts)),
        concept_features=unit_rows(concepts, width, seed=6),
    )  # fmt: skip


def make_task(shots: int = 4, val: int = 4, **sizes: int) -> FewShotTask:
    """The same as a task, with the first `shots` images of each class."""
    b = make_bundle(pool=shots, val=val, **sizes)
    return FewShotTask(
        b.classnames, b.text_features, b.text_norms, b.logit_scale, b.train, b.val, b.test, b.concepts,
        b.concept_features,
    )  # fmt: skip


def small_clip(text=None, cls="CLIP", **other):
    """A randomly initialised open_clip model with a text tower of width 16."""
    import open_clip

    torch.manual_seed(0)
    text = {"context_length": 12, "vocab_size": 50, "width": 16, "heads": 2, "layers": 2} | (text or {})
    vision = {"image_size": 16, "patch_size": 8, "width": 16, "layers": 1, "head_width": 8}
    return getattr(open_clip, cls)(embed_dim=8, vision_cfg=vision, text_cfg=text, **other).eval()


def bundle_file(folder: Path, name: str = "tiny.npz", **sizes: int) -> Path:
    return write_bundle(folder / name, make_bundle(**sizes))


def bundle_args(bundle, out, *opts, trainer: str = "CCLI", cfg: str = "rn50", shots: int = 4, seed: int = 1) -> list:
    """train.py's arguments for one run on a bundle."""
    return [
        *("--seed", seed, "--trainer", trainer, "--output-dir", out),
        *("--dataset-config-file", ROOT / "configs/datasets/feature_bundle.yaml"),
        *("--config-file", ROOT / f"configs/trainers/{trainer}/{cfg}.yaml"),
        *("DATASET.BUNDLE", bundle, "DATASET.NUM_SHOTS", shots, *opts),
    ]  # fmt: skip


def script(name: str):
    """A script of the root as a module."""
    spec = importlib.util.spec_from_file_location(f"{name}_script", ROOT / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(name: str, *argv) -> str:
    """What a script of the root prints, run in this process. Raises SystemExit("error: ...") if that is how it ends."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = script(name).main([str(word) for word in argv])
    finally:
        sys.stderr.write(err.getvalue())
    if status:
        print(out.getvalue(), end="")
        raise SystemExit(err.getvalue().splitlines()[-1].removeprefix(f"{name}.py: "))
    return out.getvalue()


def run_here(*argv) -> str:
    """train.py in this process; see `call`."""
    return call("train", *argv)


def run_apart(*argv, kill=None, **env: str) -> subprocess.CompletedProcess:
    """train.py in a process of its own; `kill(process)`, where given, is called once it has started."""
    process = Process(ROOT / "train.py", *argv, cwd=Path.cwd(), **env)
    if kill is not None:
        kill(process)
    stdout, stderr = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def cfg_of(*argv):
    """The configuration that train.py makes of these arguments."""
    return setup_cfg(arguments([str(word) for word in argv]))


def build(*argv):
    """The trainer that train.py would run, built and not yet trained."""
    from dassl.engine import build_trainer
    from dassl.utils import set_random_seed

    with contextlib.redirect_stdout(io.StringIO()):
        cfg = cfg_of(*argv)
        set_random_seed(cfg.SEED)
        return build_trainer(cfg)


def config(**dataset):
    """A configuration with all keys; `dataset` sets DATASET.<KEY>."""
    cfg = cfg_of().clone()
    cfg.defrost()
    for key, value in dataset.items():
        cfg.DATASET[key] = value
    return cfg


def sweep(*argv, cwd=None, **env) -> subprocess.CompletedProcess:
    """sweep.py in a process of its own, and what it printed."""
    command = [python(), str(ROOT / "sweep.py"), *map(str, argv)]
    return subprocess.run(command, cwd=cwd, env=os.environ | env, capture_output=True, text=True, timeout=300)
