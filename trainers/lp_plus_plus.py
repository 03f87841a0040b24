"""LPPlusPlus: a linear probe beside class-wise weights of the text logits (LP++; Huang et al., CVPR 2024)."""

from __future__ import annotations

import torch
from dassl.engine import TRAINER_REGISTRY

from ccli.errors import CcliError
from ccli.features.task import FewShotTask
from ccli.fitting import selection
from ccli.fitting.training import correct
from ccli.methods import lp_plus_plus
from ccli.results.methods import METHODS
from ccli.trainers.common.base import FeatureTrainer
from ccli.trainers.common.base import extend_cfg as extend_base


def extend_cfg(cfg) -> None:
    """Add TRAINER.LPPLUSPLUS and the keys that all feature trainers share."""
    from yacs.config import CfgNode

    extend_base(cfg)
    cfg.TRAINER.setdefault("LPPLUSPLUS", CfgNode())
    cfg.TRAINER.LPPLUSPLUS.setdefault("STEPS", 300)  # full-batch steps; which one is kept is chosen


@TRAINER_REGISTRY.register()
class LPPlusPlus(FeatureTrainer):
    method = METHODS["LPPlusPlus"]
    head_module = lp_plus_plus

    def check_cfg(self, cfg) -> None:
        super().check_cfg(cfg)
        if cfg.TRAINER.LPPLUSPLUS.STEPS < 1:
            raise CcliError(f"TRAINER.LPPLUSPLUS.STEPS is {cfg.TRAINER.LPPLUSPLUS.STEPS}; it must be 1 or more")

    def make_head(self, task: FewShotTask) -> torch.nn.Module:
        return lp_plus_plus.fit(task, self.cfg.TRAINER.LPPLUSPLUS.STEPS)

    def select(self) -> tuple[str, dict]:
        how, steps = self.chosen_on(), self.cfg.TRAINER.LPPLUSPLUS.STEPS
        counts = [0] * steps
        for task, split in self._pairs(how):

            def watch(step: int, head: torch.nn.Module, split=split) -> None:
                counts[step] += correct(head, split)

            lp_plus_plus.fit(task, steps, watch)
        if any(counts):
            steps = 1 + counts.index(max(counts))
            self.head.load_state_dict(lp_plus_plus.fit(self.task, steps).state_dict())
        if how == "cross-validation":
            self.held.keep((lp_plus_plus.fit(task, steps), split) for task, split in self._pairs(how))
        return how, {"steps": steps}

    def _pairs(self, how: str):
        if how == "cross-validation":
            return selection.fold_tasks(self.task, self.cfg.SEED)
        return {"validation": [(self.task, self.task.val)], "test": [(self.task, self.task.test)]}.get(how, [])
