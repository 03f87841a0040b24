"""CLIPAdapter: a small network on image features, blended with them (Gao et al., IJCV 2023)."""

import torch
from dassl.engine import TRAINER_REGISTRY

from ccli.errors import CcliError
from ccli.features.task import FewShotTask
from ccli.methods import clip_adapter
from ccli.results.methods import METHODS
from ccli.trainers.common.base import add_options
from ccli.trainers.common.gradient import GradientTrainer


def extend_cfg(cfg) -> None:
    """Add TRAINER.CLIPADAPTER and the keys that all feature trainers share."""
    # share of the adapted feature in the blend; width of the features over width of the hidden layer
    add_options(cfg, "CLIPADAPTER", RATIO=0.2, REDUCTION=4)


@TRAINER_REGISTRY.register()
class CLIPAdapter(GradientTrainer):
    method = METHODS["CLIPAdapter"]
    head_module = clip_adapter
    default_epochs = 200

    def check_cfg(self, cfg) -> None:
        super().check_cfg(cfg)
        node = cfg.TRAINER.CLIPADAPTER
        if not 0 <= node.RATIO <= 1 or node.REDUCTION < 1:
            raise CcliError("TRAINER.CLIPADAPTER needs RATIO between 0 and 1 and REDUCTION of 1 or more")

    def make_head(self, task: FewShotTask) -> torch.nn.Module:
        node = self.cfg.TRAINER.CLIPADAPTER
        return clip_adapter.build(task, node.RATIO, node.REDUCTION, max(self.cfg.SEED, 0))
