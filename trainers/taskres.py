"""TaskRes: a residual on the class text features (Yu et al., CVPR 2023)."""

import torch
from dassl.engine import TRAINER_REGISTRY

from ccli.features.task import FewShotTask
from ccli.methods import task_residual
from ccli.results.methods import METHODS
from ccli.trainers.common.base import options
from ccli.trainers.common.gradient import GradientTrainer

# 0 is the authors' value for the data set: 0.5, on OxfordFlowers 1
extend_cfg = options("TASKRES", RESIDUAL_SCALE=0.0)


@TRAINER_REGISTRY.register()
class TaskRes(GradientTrainer):
    method = METHODS["TaskRes"]
    head_module = task_residual
    limits = {"TRAINER.TASKRES.RESIDUAL_SCALE": "a number >= 0"}

    def authors_epochs(self) -> int:
        shots = self.cfg.DATASET.NUM_SHOTS
        return 100 if 0 < shots < 8 else 200

    def rate_share(self) -> float:
        return self._constants().lr / task_residual.constants("").lr  # on ImageNet a tenth

    def make_head(self, task: FewShotTask) -> torch.nn.Module:
        return task_residual.build(task, self.cfg.TRAINER.TASKRES.RESIDUAL_SCALE or self._constants().alpha)

    def _constants(self):
        return task_residual.constants(self.dm.dataset.short_name)
