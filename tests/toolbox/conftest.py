"""A tiny data set of generated images, a tiny trainer, and a configuration for both."""

import sys

import numpy as np
import pytest
import torch
from dassl.config import get_cfg_default
from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum
from dassl.engine import TRAINER_REGISTRY, TrainerX
from dassl.metrics import compute_accuracy
from dassl.optim import build_lr_scheduler, build_optimizer
from PIL import Image
from torch import nn
from torch.nn import functional as F

CLASSES = ["red", "green", "blue"]


@DATASET_REGISTRY.register()
class ToolboxColours(DatasetBase):
    """Noisy images of one colour; DATASET.ROOT/<split>/<class>_<n>.png, made by the `colours` fixture."""

    def __init__(self, cfg):
        def read(split):
            return [
                Datum(f"{cfg.DATASET.ROOT}/{split}/{label}_{n}.png", label, n % 2, name)
                for label, name in enumerate(CLASSES)
                for n in range(6)
            ]

        train = self.generate_fewshot_dataset(read("train"), num_shots=cfg.DATASET.NUM_SHOTS)
        super().__init__(train_x=train, train_u=read("val"), val=read("val"), test=read("test"))


class TinyNet(nn.Module):
    """Dropout makes training use the random generators, so that a wrong resume shows."""

    def __init__(self, num_classes):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 8), nn.Dropout(0.2), nn.Linear(8, num_classes))

    def forward(self, x):
        return self.layers(x)


@TRAINER_REGISTRY.register()
class ToolboxTiny(TrainerX):
    def build_model(self):
        self.model = TinyNet(self.num_classes).to(self.device)
        self.optim = build_optimizer(self.model, self.cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, self.cfg.OPTIM)
        self.register_model("tiny", self.model, self.optim, self.sched)

    def forward_backward(self, batch):
        image, label, _ = self.parse_batch_train(batch)
        output = self.model(image)
        loss = F.cross_entropy(output, label)
        self.model_backward_and_update(loss)
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return {"loss": loss.item(), "acc": compute_accuracy(output, label)[0].item()}


@pytest.fixture(scope="session")
def colours(tmp_path_factory):
    """The folder of the images of ToolboxColours."""
    root = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        (root / split).mkdir()
        for label in range(len(CLASSES)):
            for n in range(6):
                pixels = rng.integers(0, 120, (10, 10, 3))
                pixels[..., label] += 80
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / f"{label}_{n}.png")
    return root


@pytest.fixture
def cfg(colours, tmp_path):
    """Three epochs of ToolboxTiny on ToolboxColours: 18 training images in batches of 4."""
    cfg = get_cfg_default()
    cfg.OUTPUT_DIR = str(tmp_path / "out")
    cfg.USE_CUDA = False
    cfg.INPUT.SIZE = (8, 8)
    cfg.INPUT.TRANSFORMS = ("random_resized_crop", "random_flip", "normalize")
    cfg.DATASET.ROOT = str(colours)
    cfg.DATASET.NAME = "ToolboxColours"
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.DATALOADER.TRAIN_X.BATCH_SIZE = 4
    cfg.DATALOADER.TEST.BATCH_SIZE = 5
    cfg.OPTIM.NAME = "adam"
    cfg.OPTIM.LR = 0.01
    cfg.OPTIM.LR_SCHEDULER = "cosine"
    cfg.OPTIM.MAX_EPOCH = 3
    cfg.OPTIM.WARMUP_EPOCH = 1
    cfg.OPTIM.WARMUP_TYPE = "constant"
    cfg.TRAIN.PRINT_FREQ = 2
    cfg.TRAINER.NAME = "ToolboxTiny"
    return cfg


@pytest.fixture(autouse=True)
def quiet_neighbours():
    """One thread, which is fastest for models this small; stdout and the number of threads are put back."""
    stdout, threads = sys.stdout, torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    sys.stdout = stdout
    torch.set_num_threads(threads)
