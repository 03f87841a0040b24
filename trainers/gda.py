"""GDA: a Gaussian discriminant beside zero-shot, without training (Wang et al., ICLR 2024)."""

from __future__ import annotations

import torch
from dassl.engine import TRAINER_REGISTRY

from ccli.errors import CcliError
from ccli.features.task import FewShotTask
from ccli.fitting import selection
from ccli.methods import gda
from ccli.results.methods import METHODS
from ccli.trainers.common.base import FeatureTrainer
from ccli.trainers.common.base import extend_cfg as extend_base


def extend_cfg(cfg) -> None:
    """Add TRAINER.GDA and the keys that all feature trainers share."""
    from yacs.config import CfgNode

    extend_base(cfg)
    cfg.TRAINER.setdefault("GDA", CfgNode())
    cfg.TRAINER.GDA.setdefault("WEIGHT", 1.0)  # of the discriminant, where nothing chooses another


@TRAINER_REGISTRY.register()
class GDA(FeatureTrainer):
    method = METHODS["GDA"]
    head_module = gda

    def check_cfg(self, cfg) -> None:
        super().check_cfg(cfg)
        if not cfg.TRAINER.GDA.WEIGHT > 0:
            raise CcliError(f"TRAINER.GDA.WEIGHT is {cfg.TRAINER.GDA.WEIGHT}; it must be above 0")

    def make_head(self, task: FewShotTask) -> torch.nn.Module:
        return gda.build(task, self.cfg.TRAINER.GDA.WEIGHT)

    def select(self) -> tuple[str, dict]:
        how, a = self.chosen_on(), self.cfg.TRAINER.GDA.WEIGHT
        if how in selection.HELD_OUT:
            a = selection.choose(gda.CANDIDATES, selection.score(self.held_out(how), gda.CANDIDATES))
        return how, self.set_chosen(a=a)
