"""README's section "In your own Dassl codebase", followed to the letter in a checkout that looks like CoOp's.

The checkout is written here: a train.py without any mention of ours, and packages `trainers` and `datasets` with a
`CoOp` and a `DescribableTextures` of their own, names that ours have as well. The lines that README gives are taken out
of README, put into that train.py, and its command is run.
"""

import json
import os
import re
import shlex
import subprocess
import sysconfig
from importlib.metadata import distributions
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
import pytest
from fork_server import python
from helpers import ROOT
from PIL import Image

TRAIN = """
import argparse

from dassl.config import get_cfg_default
from dassl.engine import build_trainer
from dassl.utils import set_random_seed, setup_logger

import datasets.dtd
import trainers.coop


def extend_cfg(cfg):
    from yacs.config import CfgNode as CN

    cfg.TRAINER.COOP = CN()
    cfg.TRAINER.COOP.N_CTX = 16
    cfg.DATASET.SUBSAMPLE_CLASSES = "all"


def reset_cfg(cfg, args):
    if args.root:
        cfg.DATASET.ROOT = args.root
    if args.output_dir:
        cfg.OUTPUT_DIR = args.output_dir
    if args.seed:
        cfg.SEED = args.seed
    if args.trainer:
        cfg.TRAINER.NAME = args.trainer


def setup_cfg(args):
    cfg = get_cfg_default()
    extend_cfg(cfg)
    if args.dataset_config_file:
        cfg.merge_from_file(args.dataset_config_file)
    if args.config_file:
        cfg.merge_from_file(args.config_file)
    reset_cfg(cfg, args)
    cfg.merge_from_list(args.opts)
    cfg.freeze()
    return cfg


def main(args):
    cfg = setup_cfg(args)
    if cfg.SEED >= 0:
        set_random_seed(cfg.SEED)
    setup_logger(cfg.OUTPUT_DIR)
    trainer = build_trainer(cfg)
    if args.eval_only:
        trainer.load_model(args.model_dir, epoch=args.load_epoch)
        trainer.test()
        return
    trainer.train()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("root", "output-dir", "config-file", "dataset-config-file", "trainer", "model-dir"):
        parser.add_argument("--" + name, default="")
    parser.add_argument("--seed", type=int, default=-1)
    parser.add_argument("--load-epoch", type=int)
    parser.add_argument("--eval-only", action="store_true")
    parser.add_argument("opts", default=None, nargs=argparse.REMAINDER)
    main(parser.parse_args())
"""

DATA_SET = '''
import os

from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum
from dassl.utils import listdir_nohidden


@DATASET_REGISTRY.register()
class DescribableTextures(DatasetBase):
    """Of each class, the first half is to train on, two images to validate, the rest to test."""

    dataset_dir = "dtd"

    def __init__(self, cfg):
        root = os.path.abspath(os.path.expanduser(cfg.DATASET.ROOT))
        self.image_dir = os.path.join(root, self.dataset_dir, "images")
        train, val, test = [], [], []
        for label, name in enumerate(sorted(listdir_nohidden(self.image_dir))):
            files = sorted(listdir_nohidden(os.path.join(self.image_dir, name)))
            items = [Datum(os.path.join(self.image_dir, name, file), label, classname=name) for file in files]
            half = len(items) // 2
            train, val, test = train + items[:half], val + items[half : half + 2], test + items[half + 2 :]
        if cfg.DATASET.NUM_SHOTS >= 1:
            train = self.generate_fewshot_dataset(train, num_shots=cfg.DATASET.NUM_SHOTS)
        super().__init__(train_x=train, val=val, test=test)
'''

TRAINER = '''
import torch
from dassl.engine import TRAINER_REGISTRY, TrainerX
from dassl.metrics import compute_accuracy
from dassl.optim import build_lr_scheduler, build_optimizer


@TRAINER_REGISTRY.register()
class CoOp(TrainerX):
    """No prompts: a linear layer on the spectrum of an image."""

    def check_cfg(self, cfg):
        assert cfg.TRAINER.COOP.N_CTX == 16

    def build_model(self):
        height, width = self.cfg.INPUT.SIZE
        self.model = torch.nn.Linear(height * (width // 2 + 1), self.num_classes).to(self.device)
        self.optim = build_optimizer(self.model, self.cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, self.cfg.OPTIM)
        self.register_model("prompt_learner", self.model, self.optim, self.sched)

    def forward_backward(self, batch):
        image, label = self.parse_batch_train(batch)
        logits = self.model_inference(image)
        loss = torch.nn.functional.cross_entropy(logits, label)
        self.model_backward_and_update(loss)
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return {"loss": loss.item(), "acc": compute_accuracy(logits, label)[0].item()}

    def parse_batch_train(self, batch):
        return batch["img"].to(self.device), batch["label"].to(self.device)

    def model_inference(self, image):
        return self.model(torch.fft.rfft2(image.mean(1), norm="ortho").abs().flatten(1))
'''

TRAINER_YAML = """
DATALOADER: {NUM_WORKERS: 0, TRAIN_X: {BATCH_SIZE: 16}}
INPUT: {SIZE: [32, 32], TRANSFORMS: ["normalize"]}
OPTIM: {NAME: "adam", LR: 0.01, MAX_EPOCH: 20, LR_SCHEDULER: "cosine"}
"""

CHECKOUT = {
    "train.py": TRAIN,
    "datasets/__init__.py": "",
    "datasets/dtd.py": DATA_SET,
    "datasets/ccli.py": "raise AssertionError('a file of this name is none of ours')\n",
    "trainers/__init__.py": "",
    "trainers/coop.py": TRAINER,
    "trainers/ccli.py": "raise AssertionError('a file of this name is none of ours')\n",
    "trainers/base.py": "raise AssertionError('a file of this name is none of ours')\n",
    "configs/datasets/dtd.yaml": 'DATASET:\n  NAME: "DescribableTextures"\n',
    "configs/trainers/CoOp/rn50.yaml": TRAINER_YAML,
}
CLASSES = ("chequered", "dotted", "lined", "striped")
IMAGES = 32  # of each


def texture(name: str, rng: np.random.Generator) -> Image.Image:
    """64x64 pixels in two colours, at a scale and place of its own."""
    step, turn = rng.integers(8, 15), rng.integers(0, 20, 2)
    v, u = np.mgrid[:64, :64] + turn[:, None, None]
    inked = {
        "chequered": (u // step + v // step) % 2,
        "dotted": np.hypot(u % step - step / 2, v % step - step / 2) < step / 3,
        "lined": v % step < 2,
        "striped": (u // (step // 2)) % 2,
    }[name]
    ink, paper = rng.integers(0, 90, 3), rng.integers(160, 256, 3)
    return Image.fromarray(np.where(inked[..., None], ink, paper).astype(np.uint8))


def readme_blocks() -> list[str]:
    """The code of README's section: what to install, the lines of train.py, the command."""
    section = re.search(r"^## In your own Dassl codebase\n(.*?)^## ", (ROOT / "README.md").read_text(), re.M | re.S)
    found = re.findall(r"^```(\w+)\n(.*?)^```", section[1], re.M | re.S)
    assert [language for language, _ in found] == ["bash", "python", "bash"]
    return [text for _, text in found]


def with_readme_lines(script: str) -> str:
    """A train.py with README's import after its own imports, and README's line at the end of its extend_cfg."""
    imported, function, kept, line = [line for line in readme_blocks()[1].splitlines() if line]
    assert function == "def extend_cfg(cfg):" and kept.startswith("    ..."), (function, kept)
    for before, added in (("import trainers.coop\n", imported), ('SUBSAMPLE_CLASSES = "all"\n', line)):
        assert script.count(before) == 1
        script = script.replace(before, f"{before}{added}\n")
    return script


def run(checkout: Path, command: str) -> str:
    """What a command printed in the checkout, where ours is known by what is installed and by $CCLI alone."""
    assert command.startswith("python train.py ")
    command = command.replace("python", shlex.quote(python()), 1)
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "CCLI_STORE")}
    env |= {"CCLI": str(ROOT), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    ended = subprocess.run(["bash", "-ec", command], cwd=checkout, env=env, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def results(log: str) -> list[str]:
    """The lines of a test."""
    return re.findall(r"^\* (.*)$", log, re.M)


@pytest.fixture
def checkout(tmp_path) -> Path:
    """It lies where nothing of ours is, with README's lines in its train.py and its pictures in DATA."""
    for path, text in CHECKOUT.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text.lstrip("\n"))
    (tmp_path / "train.py").write_text(with_readme_lines(TRAIN.lstrip("\n")))
    for k, name in enumerate(CLASSES):
        images = tmp_path / "DATA/dtd/images" / name
        images.mkdir(parents=True)
        for number in range(IMAGES):
            texture(name, np.random.default_rng(100 * k + number)).save(images / f"{name}_{number:02d}.png")
    return tmp_path


def test_what_the_readme_installs_is_what_the_tests_run_on():
    """Both packages are here as `pip install -e` of the folders that README names leaves them."""
    words = shlex.split(readme_blocks()[0], comments=True)
    folders = [word for before, word in pairwise(words) if before == "-e"]
    assert words[0].startswith("CCLI=") and words.count("pip") == words.count("install") == 2
    assert folders == ["$CCLI/toolbox", "$CCLI"]
    for folder, name in zip((ROOT / "toolbox", ROOT), ("ccli-toolbox", "ccli")):
        (found,) = distributions(name=name, path=[sysconfig.get_path("purelib")])
        installed = json.loads(found.read_text("direct_url.json"))
        assert installed["dir_info"] == {"editable": True}
        assert folder.samefile(url2pathname(urlsplit(installed["url"]).path))


def test_the_readme_in_a_checkout_like_coops(checkout):
    command = readme_blocks()[2]
    assert command.count("rn50") == 3
    command = command.replace("rn50", "demo_clip")  # its weights come with our checkout
    out = checkout / re.search(r"--output-dir (\S+)", command)[1]
    log = run(checkout, command)
    record = json.loads((out / "result.json").read_text())
    assert {key: record[key] for key in ("trainer", "cfg", "backbone", "shots", "seed", "selected_by", "total")} == {
        "trainer": "CCLI", "cfg": "demo_clip", "backbone": "demo-clip", "shots": 16, "seed": 1,
        "selected_by": "validation", "total": 56,
    }  # fmt: skip
    assert record["dataset"] == "DescribableTextures"  # ours would be dtd
    assert [row["name"] for row in record["per_class"]] == list(CLASSES)
    assert record["correct"] > 0.5 * record["total"], "25 % is chance"
    assert results(log)[:2] == ["total: 56", f"correct: {record['correct']}"]

    again = command.replace(
        "--output-dir ", f"--eval-only --model-dir {shlex.quote(str(out))} --output-dir output/again/"
    )
    assert results(run(checkout, again)) == results(log)

    own = readme_blocks()[2].replace("$CCLI/", "").replace("CCLI", "CoOp")
    assert results(run(checkout, own))[:2] == ["total: 56", "correct: 56"]
