"""Where there are several GPUs: the model is spread, what is registered and stored is not."""

import os

import torch
from dassl.engine import SimpleTrainer, TrainerX
from dassl.utils import load_checkpoint
from torch import nn
from torch.nn import functional as F


class Classifier(TrainerX):
    """As SimpleTrainer, with a model that needs no torchvision."""

    def build_model(self):
        model = nn.Sequential(nn.Flatten(), nn.Linear(192, self.num_classes))
        self.register_model("model", model, torch.optim.SGD(model.parameters(), lr=0.01))
        self.model = self._on_all_devices(model)

    def forward_backward(self, batch):
        image, label, _ = self.parse_batch_train(batch)
        loss = F.cross_entropy(self.model(image), label)
        self.model_backward_and_update(loss)
        return {"loss": loss.item()}


def test_one_device_changes_nothing(cfg, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    trainer = Classifier(cfg)  # USE_CUDA is False
    assert isinstance(trainer.model, nn.Sequential)
    trainer.device = torch.device("cuda")
    assert isinstance(trainer._on_all_devices(nn.Linear(1, 1)), nn.DataParallel)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert isinstance(trainer._on_all_devices(nn.Linear(1, 1)), nn.Linear)


def test_simple_trainer_spreads_its_model(cfg, monkeypatch, capsys):
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.PRETRAINED = "shufflenet_v2_x0_5", False
    monkeypatch.setattr(SimpleTrainer, "_on_all_devices", lambda self, model: nn.DataParallel(model))
    trainer = SimpleTrainer(cfg)
    assert isinstance(trainer.model, nn.DataParallel)
    assert trainer._models["model"] is trainer.model.module


def test_a_spread_model_is_stored_under_its_own_names(cfg, monkeypatch):
    """Registered bare, as SimpleTrainer and CoOp do, and registered spread, as some plugins do."""
    monkeypatch.setattr(Classifier, "_on_all_devices", lambda self, model: nn.DataParallel(model))
    trainer = Classifier(cfg)
    trainer.train()
    path = os.path.join(cfg.OUTPUT_DIR, "model", "model.pth.tar-3")
    assert set(load_checkpoint(path)["state_dict"]) == {"1.weight", "1.bias"}
    assert trainer.model.module.training is False  # tested last

    fresh = Classifier(cfg)
    fresh._models["model"] = fresh.model
    fresh.load_model(cfg.OUTPUT_DIR)
    assert torch.equal(fresh.model.module[1].weight, trainer.model.module[1].weight)
    fresh.save_model(3, cfg.OUTPUT_DIR)
    assert set(load_checkpoint(path.replace("-3", "-4"))["state_dict"]) == {"1.weight", "1.bias"}
    assert fresh.resume_model_if_exist(cfg.OUTPUT_DIR) == 4
