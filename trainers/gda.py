"""GDA: a Gaussian discriminant beside zero-shot, without training (Wang et al., ICLR 2024)."""

import torch
from dassl.engine import TRAINER_REGISTRY

from ccli.features.task import FewShotTask
from ccli.fitting import selection
from ccli.methods import gda
from ccli.results.methods import METHODS
from ccli.trainers.common.base import FeatureTrainer, options

extend_cfg = options("GDA", WEIGHT=1.0)  # of the discriminant, where nothing chooses another


@TRAINER_REGISTRY.register()
class GDA(FeatureTrainer):
    method = METHODS["GDA"]
    head_module = gda
    limits = {"TRAINER.GDA.WEIGHT": "a number > 0"}

    def make_head(self, task: FewShotTask) -> torch.nn.Module:
        return gda.build(task, self.cfg.TRAINER.GDA.WEIGHT)

    def select(self, how: str) -> dict[str, float]:
        a = self.cfg.TRAINER.GDA.WEIGHT
        if how in selection.HELD_OUT:
            a = selection.choose(gda.CANDIDATES, selection.score(self.held_out(how), gda.CANDIDATES))
        return self.set_chosen(a=a)
