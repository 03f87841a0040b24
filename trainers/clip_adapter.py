"""CLIPAdapter: a small network on image features, blended with them (Gao et al., IJCV 2023)."""

import torch
from dassl.engine import TRAINER_REGISTRY

from ccli.features.task import FewShotTask
from ccli.methods import clip_adapter
from ccli.results.methods import METHODS
from ccli.trainers.common.base import options
from ccli.trainers.common.gradient import GradientTrainer

# share of the adapted feature in the blend; width of the features over width of the hidden layer
extend_cfg = options("CLIPADAPTER", RATIO=0.2, REDUCTION=4)


@TRAINER_REGISTRY.register()
class CLIPAdapter(GradientTrainer):
    method = METHODS["CLIPAdapter"]
    head_module = clip_adapter
    default_epochs = 200
    limits = {"TRAINER.CLIPADAPTER.RATIO": "a number from 0 to 1", "TRAINER.CLIPADAPTER.REDUCTION": "an integer >= 1"}

    def make_head(self, task: FewShotTask) -> torch.nn.Module:
        node = self.cfg.TRAINER.CLIPADAPTER
        return clip_adapter.build(task, node.RATIO, node.REDUCTION, max(self.cfg.SEED, 0))
