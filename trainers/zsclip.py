"""ZeroshotCLIP: class text features, no training."""

import torch
from dassl.engine import TRAINER_REGISTRY

from ccli.features.task import FewShotTask
from ccli.methods.zero_shot import ZeroShot
from ccli.results.methods import METHODS
from ccli.trainers.common.base import FeatureTrainer, extend_cfg

__all__ = ["ZeroshotCLIP", "extend_cfg"]


@TRAINER_REGISTRY.register()
class ZeroshotCLIP(FeatureTrainer):
    """Needs no run to load: `--eval-only` without `--model-dir` works."""

    method = METHODS["ZeroshotCLIP"]
    reads_class_names = True

    def build_model(self) -> None:
        super().build_model()
        text, _ = self.source.text()
        self.head = ZeroShot(text, self.source.logit_scale).to(self.device)

    def make_head(self, task: FewShotTask) -> torch.nn.Module:
        return ZeroShot(task.text_features, task.logit_scale)

    def head_from_state(self, state: dict[str, torch.Tensor]) -> torch.nn.Module:
        return self.head  # that of the classes at hand
