"""A new method outside the checkout, in the order of CONTRIBUTING: head, trainer, yaml. Nothing else is touched.

The method is a penalised linear probe beside zero-shot: logits = scale f W^T + alpha f V^T, with the loss
CE + penalty / 2 |V|^2; V is trained by gradient and alpha is chosen.
"""

import csv
import io
import json
import os
import subprocess

import pytest
import torch
from fork_server import python
from torch.nn import functional as F

from ccli.inference.saving import load_run
from ccli.results.records import read_record, same_record

HEAD = """
import torch
from torch import nn
from torch.nn import functional as F


class PenalisedProbe(nn.Module):
    def __init__(self, text_features, logit_scale, penalty):
        super().__init__()
        self.register_buffer("text_features", text_features.clone())
        self.register_buffer("logit_scale", torch.tensor(float(logit_scale)))
        self.register_buffer("penalty", torch.tensor(float(penalty)))
        self.register_buffer("alpha", torch.tensor(1.0))
        self.weight = nn.Parameter(text_features.clone())

    def parts(self, f):
        return self.logit_scale * f @ self.text_features.T, f @ self.weight.T

    def forward(self, f):
        zero_shot, probe = self.parts(f)
        return zero_shot + self.alpha * probe

    def loss(self, logits, labels):
        return F.cross_entropy(logits, labels) + self.penalty / 2 * self.weight.square().sum()


def from_state(state):
    head = PenalisedProbe(state["text_features"], 1.0, 0.0)
    head.load_state_dict(state)
    return head
"""
TRAINER = """
from dassl.engine import TRAINER_REGISTRY
from yacs.config import CfgNode

from ccli.fitting import selection
from ccli.results.methods import Method
from ccli.trainers.common.gradient import GradientTrainer

from . import head


def extend_cfg(cfg):
    cfg.TRAINER.setdefault("PENALISEDPROBE", CfgNode())
    cfg.TRAINER.PENALISEDPROBE.setdefault("PENALTY", 0.1)


@TRAINER_REGISTRY.register()
class PenalisedProbe(GradientTrainer):
    method = Method("PenalisedProbe", authors_chose_on="validation")
    head_module = head
    default_epochs = 6

    def make_head(self, task):
        made = head.PenalisedProbe(task.text_features, task.logit_scale, self.cfg.TRAINER.PENALISEDPROBE.PENALTY)
        return made.to(self.device)

    def select_more(self, how):
        alpha = 1.0
        if how in selection.HELD_OUT:
            alphas = (0.0, 1.0, 4.0)
            alpha = selection.choose(alphas, selection.score(self.held_out(how, self.fit_chosen), alphas))
        return self.set_chosen(alpha=alpha)
"""
YAML = """
DATALOADER: {TRAIN_X: {BATCH_SIZE: 256}}
OPTIM: {NAME: "sgd", LR: 0.5, MOMENTUM: 0.0, WEIGHT_DECAY: 0.0, WARMUP_CONS_LR: 0.5, MAX_EPOCH: 6}
MODEL: {BACKBONE: {NAME: "demo-clip"}}
FEATURES: {VIEWS: 0}
"""


@pytest.fixture
def plugin(tmp_path):
    """The three files, in a folder that is not on Python's path."""
    folder = tmp_path / "elsewhere/penalised_probe"
    files = {"head.py": HEAD, "trainer.py": TRAINER, "configs/PenalisedProbe/demo_clip.yaml": YAML, "__init__.py": ""}
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text.lstrip())
    return folder


def ccli(plugin, cwd, *words, check=True):
    """A command in a process of its own, in which the plugin is named."""
    environment = os.environ | {"CCLI_PLUGINS": str(plugin), "OMP_NUM_THREADS": "1"}
    command = [python(), "-m", "ccli", *map(str, words)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def test_the_method_is_trained_chosen_resumed_evaluated_tabled_and_used(plugin, few_pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("CCLI_PLUGINS", str(plugin))
    sweep = [
        *("sweep", "--datasets", "concept_shapes", "--trainers", "PenalisedProbe", "ZeroshotCLIP", "--shots", 1),
        *("--seeds", 1, "--targets", "concept_shapes_r", "--root", few_pictures / "data"),
    ]
    own = ["TRAIN.CHECKPOINT_FREQ", 1]

    # train, choose, evaluate: a run of each method, tested on a shifted set as well
    done = ccli(plugin, tmp_path, *sweep, "--output", "out", *own)
    run = tmp_path / "out/concept_shapes/PenalisedProbe/demo_clip_1shots/CHECKPOINT_FREQ-1/seed1"
    record = read_record(run)
    assert record["selected_by"] == "validation" and set(record["hyper_parameters"]) == {"epochs", "alpha"}
    (tested,) = (tmp_path / "out/concept_shapes_r/PenalisedProbe").rglob("result.json")
    assert read_record(tested)["trained_on"] == "concept_shapes"

    # its loss is its own: the first epoch is one step of SGD from the class texts, with the penalty's gradient
    first = torch.load(run / "head/model.pth.tar-1", weights_only=True)["state_dict"]
    assert torch.allclose(first["weight"], by_hand(first, run, few_pictures / "data"), atol=1e-4)

    # resume: stopped after two epochs and given again, it ends as if nothing had happened
    part = tmp_path / "part/concept_shapes/PenalisedProbe/demo_clip_1shots/CHECKPOINT_FREQ-1/seed1"
    stopped = [*sweep, "--output", "part", *own]
    ccli(plugin, tmp_path, *stopped)
    rewind(part, epochs=2)
    assert "unfinished runs are resumed" in ccli(plugin, tmp_path, *stopped).stderr
    assert same_record(read_record(part) | {"config": {}}, record | {"config": {}}) == []
    assert [f"epoch [{k}/6]" in (part / "log.txt").read_text() for k in (1, 3)] == [True, True]

    # table: named by its trainer, before CCLI
    table = ccli(plugin, tmp_path, "table", "out").stdout
    assert "PenalisedProbe" in table and "PenalisedProbe" in done.stdout

    # predict: the run's folder is enough, where the plugin is named
    pictures = few_pictures / "data/concept_shapes/images/test/striped_star"
    rows = list(
        csv.DictReader(io.StringIO(ccli(plugin, tmp_path, "predict", "--model-dir", run, pictures, "--csv").stdout))
    )
    assert len(rows) == 2 and {row["label"] for row in rows} <= {share["name"] for share in record["per_class"]}
    refused = ccli("", tmp_path, "predict", "--model-dir", run, pictures, check=False)
    assert refused.returncode == 2 and "CCLI_PLUGINS" in refused.stderr and len(refused.stderr.splitlines()) == 1


def by_hand(state, run, data) -> torch.Tensor:
    """V after one step of SGD (rate 0.5) on CE(scale f W^T + f V^T) + 0.05 |V|^2, from the class texts W."""
    split = json.loads((data / "concept_shapes/split_zhou_ConceptShapes.json").read_text())["train"]
    f = load_run(run).features([data / "concept_shapes/images" / path for path, _, _ in split])
    labels, text = torch.tensor([label for _, label, _ in split]), state["text_features"]
    v = text.clone().requires_grad_()
    logits = state["logit_scale"] * f @ text.T + f @ v.T
    (F.cross_entropy(logits, labels) + 0.05 * v.square().sum()).backward()
    return (v - 0.5 * v.grad).detach()


def rewind(run, epochs: int) -> None:
    """Leave a run as one that was killed after some epochs."""
    for path in [run / "result.json", run / "classifier.json", *run.glob("head/model.pth.tar-*")]:
        if path.name.rpartition("-")[2] not in map(str, range(1, epochs + 1)):
            path.unlink()
    (run / "head/checkpoint").write_text(f"model.pth.tar-{epochs}\n")
