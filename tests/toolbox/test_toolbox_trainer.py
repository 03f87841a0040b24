"""Whole runs on generated images: the life of a trainer, its log, its checkpoints, resuming."""

import os
import re

import pytest
import torch
from dassl.engine import TRAINER_REGISTRY, SimpleNet, SimpleTrainer, TrainerX, TrainerXU, build_trainer
from dassl.utils import load_checkpoint, set_random_seed
from torch import nn
from torch.nn import functional as F


def run(cfg, trainer_class=None):
    set_random_seed(1)
    trainer = trainer_class(cfg) if trainer_class else build_trainer(cfg)
    trainer.train()
    return trainer


TINY = TRAINER_REGISTRY.get("ToolboxTiny")


def test_a_run(cfg, capsys):
    cfg.OPTIM.MAX_EPOCH = 12
    trainer = run(cfg)
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert trainer.test() > 60  # three plain colours
    assert sorted(os.listdir(cfg.OUTPUT_DIR)) == ["tensorboard", "tiny"]
    assert any(name.startswith("events") for name in os.listdir(os.path.join(cfg.OUTPUT_DIR, "tensorboard")))
    assert sorted(os.listdir(os.path.join(cfg.OUTPUT_DIR, "tiny"))) == ["checkpoint", "model.pth.tar-12"]

    checkpoint = load_checkpoint(os.path.join(cfg.OUTPUT_DIR, "tiny", "model.pth.tar-12"))
    assert {"state_dict", "epoch", "optimizer", "scheduler", "val_result"} <= set(checkpoint)
    assert checkpoint["epoch"] == 12 and checkpoint["val_result"] is None

    # 4 batches of 4 in an epoch, a line for every second one
    number = r"\d+\.\d{3} \(\d+\.\d{3}\)"
    epochs = [line for line in lines if line.startswith("epoch ")]
    assert len(epochs) == 24
    assert re.fullmatch(
        rf"epoch \[1/12\] batch \[2/4\] time {number} data {number} "
        r"loss \d+\.\d{4} \(\d+\.\d{4}\) acc \d+\.\d{4} \(\d+\.\d{4}\) lr 1\.0000e-05 eta \d:\d\d:\d\d",
        epochs[0],
    )
    assert " lr 1.0000e-02 " in epochs[1]  # the last batch of an epoch steps the schedule
    tail = lines[lines.index("Finish training") :]
    assert tail[1] == "Deploy the last-epoch model" and tail[2] == "Evaluate on the *test* set"
    assert tail[3] == "=> result" and tail[4] == "* total: 18"
    assert re.fullmatch(r"Elapsed: \d:\d\d:\d\d", tail[-1])


def test_hooks_come_in_order(cfg):
    calls = []

    class Hooked(TINY):
        def check_cfg(self, cfg):
            calls.append("check_cfg")

        def build_data_loader(self):
            assert (self.max_epoch, self.output_dir, self.device.type) == (2, cfg.OUTPUT_DIR, "cpu")
            calls.append("build_data_loader")
            super().build_data_loader()

        def build_model(self):
            calls.append(f"build_model, evaluator: {hasattr(self, 'evaluator')}")
            super().build_model()

        def test(self, split=None):
            calls.append(f"test {split}")
            return super().test(split)

    for name in ("before_train", "before_epoch", "run_epoch", "after_epoch", "after_train"):

        def hook(self, name=name):
            calls.append(name)
            getattr(TINY, name)(self)

        setattr(Hooked, name, hook)

    cfg.OPTIM.MAX_EPOCH = 2
    run(cfg, Hooked)
    epoch = ["before_epoch", "run_epoch", "after_epoch"]
    assert calls == [
        "check_cfg",
        "build_data_loader",
        "build_model, evaluator: False",
        "before_train",
        *epoch,
        *epoch,
        "after_train",
        "test None",
    ]


def test_splits(cfg, capsys):
    trainer = TINY(cfg)
    capsys.readouterr()
    trainer.test()
    trainer.test("val")
    cfg.TEST.SPLIT = "val"
    trainer.test()
    trainer.val_loader = None
    trainer.test()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Evaluate")]
    assert [re.search(r"\*(\w+)\*", line)[1] for line in lines] == ["test", "val", "val", "test"]
    assert not trainer.model.training


def test_results_go_to_tensorboard(cfg):
    written = []

    class Writes(TINY):
        def write_scalar(self, tag, scalar_value, global_step=None):
            written.append((tag, global_step))

    run(cfg, Writes)
    assert written.count(("train/loss", 0)) == 1 and ("train/lr", 11) in written
    assert written[-3:] == [("test/accuracy", 2), ("test/error_rate", 2), ("test/macro_f1", 2)]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_broken_loss_is_named(cfg, value):
    class Breaks(TINY):
        def forward_backward(self, batch):
            if (self.epoch, self.batch_idx) != (1, 2):
                return super().forward_backward(batch)
            before.append(self.model.layers[1].weight.detach().clone())
            self.model_backward_and_update(self.model.layers[1].weight.sum() * value)

    class Reports(TINY):
        def forward_backward(self, batch):
            return {"loss_align": value if (self.epoch, self.batch_idx) == (1, 2) else 0.5, "ratio": float("nan")}

    before = []
    trainer = Breaks(cfg)
    with pytest.raises(FloatingPointError, match=r"loss is (nan|inf|-inf) in epoch 2, batch 3"):
        trainer.train()
    assert torch.equal(trainer.model.layers[1].weight, before[0])  # the step was not taken
    cfg.OUTPUT_DIR += "2"
    with pytest.raises(FloatingPointError, match=r"loss_align is (nan|inf) in epoch 2, batch 3"):
        Reports(cfg).train()


class Prototypes(TrainerX):
    """Training-free: class means of the pixels."""

    def build_model(self):
        means = [torch.zeros(192) for _ in range(self.num_classes)]
        for batch in self.test_loader:
            for image, label in zip(batch["img"], batch["label"]):
                means[label] += image.flatten()
        self.means = torch.stack(means)

    def model_inference(self, input):
        return -torch.cdist(input.flatten(1), self.means / 6)

    def forward_backward(self, batch):
        return {}


@pytest.mark.parametrize("epochs", [0, 2])
@pytest.mark.parametrize("final_model", ["last_step", "best_val"])
@pytest.mark.parametrize("registered", [False, True])
def test_training_free(cfg, epochs, final_model, registered, capsys):
    class Free(Prototypes):
        def build_model(self):
            super().build_model()
            if registered:
                self.register_model("free", nn.Linear(1, 1))

    cfg.OPTIM.MAX_EPOCH = epochs
    cfg.TEST.FINAL_MODEL = final_model
    trainer = run(cfg, Free)
    out = capsys.readouterr().out
    assert trainer.evaluator._correct == 18
    assert "* accuracy: 100.0%" in out and "Elapsed:" in out
    assert out.count("lr 0.0000e+00") == 2 * epochs
    saved = os.path.exists(os.path.join(cfg.OUTPUT_DIR, "free", f"model.pth.tar-{epochs}"))
    assert saved == (registered and epochs > 0)


def test_no_test(cfg, capsys):
    cfg.TEST.NO_TEST = True
    run(cfg)
    out = capsys.readouterr().out
    assert "=> result" not in out and "Elapsed" in out


class Both(TrainerXU):
    seen = None

    def build_model(self):
        self.seen = []
        self.model = nn.Sequential(nn.Flatten(), nn.Linear(192, self.num_classes))
        self.register_model("both", self.model, torch.optim.SGD(self.model.parameters(), lr=0.01))

    def forward_backward(self, batch_x, batch_u):
        x, label, u = self.parse_batch_train(batch_x, batch_u)
        self.seen.append((len(x), len(u)))
        loss = F.cross_entropy(self.model(x), label) + self.model(u).pow(2).mean() * 1e-3
        self.model_backward_and_update(loss)
        return {"loss": loss.item()}


@pytest.mark.parametrize("count,batches", [("train_x", 4), ("train_u", 2), ("smaller_one", 2)])
def test_trainer_xu(cfg, count, batches):
    cfg.TRAIN.COUNT_ITER = count
    cfg.OPTIM.MAX_EPOCH = 1
    cfg.DATALOADER.TRAIN_U.SAME_AS_X = False
    cfg.DATALOADER.TRAIN_U.BATCH_SIZE = 9
    before = Both(cfg)
    weight = before.model[1].weight.detach().clone()
    before.train()
    assert before.seen == [(4, 9)] * batches
    assert not torch.equal(before.model[1].weight, weight)


def test_trainer_xu_needs_both(cfg):
    trainer = Both(cfg)
    trainer.train_loader_u = None
    with pytest.raises(ValueError, match="unlabelled"):
        trainer.train()


def test_register_model(cfg):
    class Early(TINY):
        def __init__(self, cfg):
            self.register_model("x", nn.Linear(1, 1))

    with pytest.raises(AttributeError, match="super"):
        Early(cfg)
    trainer = TINY(cfg)
    with pytest.raises(ValueError, match="already"):
        trainer.register_model("tiny", nn.Linear(1, 1))
    with pytest.raises(ValueError, match="Did you mean 'tiny'"):
        trainer.set_model_mode("eval", "tinny")
    trainer.register_model("frozen", nn.Linear(1, 1))
    trainer.set_model_mode("eval")
    trainer.set_model_mode("train", ["tiny"])
    assert trainer.model.training and not trainer._models["frozen"].training
    assert trainer.get_current_lr() == 1e-5
    trainer.update_lr("frozen")
    assert trainer.get_current_lr() == 1e-5
    trainer.model_update()
    trainer.update_lr()
    assert trainer.get_current_lr() == pytest.approx(0.01)


def test_unknown_trainer(cfg):
    cfg.TRAINER.NAME = "ToolboxTinny"
    with pytest.raises(ValueError, match="Did you mean 'ToolboxTiny'"):
        build_trainer(cfg)


def test_simple_net(cfg):
    model_cfg = cfg.MODEL
    model_cfg.BACKBONE.PRETRAINED = False
    for name, message in (("squeezenet", "Did you mean 'squeezenet1_"), ("squeezenet1_0", "linear layer")):
        model_cfg.BACKBONE.NAME = name
        with pytest.raises(ValueError, match=message):
            SimpleNet(cfg, model_cfg, 3)
    model_cfg.BACKBONE.NAME, model_cfg.BACKBONE.PRETRAINED = "shufflenet_v2_x0_5", False
    model_cfg.HEAD.NAME, model_cfg.HEAD.HIDDEN_LAYERS = "mlp", (7, 5)
    net = SimpleNet(cfg, model_cfg, 3).eval()
    logits, features = net(torch.rand(2, 3, 32, 32), return_feature=True)
    assert (net.fdim, logits.shape, features.shape) == (5, (2, 3), (2, 5))
    torch.testing.assert_close(net.classifier(features), logits)
    model_cfg.HEAD.NAME = ""
    assert SimpleNet(cfg, model_cfg, 0)(torch.rand(2, 3, 32, 32)).shape == (2, 1024)


def test_simple_trainer_builds_a_model(cfg):
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.PRETRAINED = "shufflenet_v2_x0_5", False
    trainer = SimpleTrainer(cfg)
    assert trainer.get_model_names() == ["model"] and trainer.model.classifier.out_features == 3
    assert 0 <= trainer.test() <= 100
