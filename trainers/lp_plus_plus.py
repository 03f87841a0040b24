"""LPPlusPlus: a linear probe beside class-wise weights of the text logits (LP++; Huang et al., CVPR 2024)."""

import torch
from dassl.engine import TRAINER_REGISTRY

from ccli.features.task import FewShotTask
from ccli.fitting import selection
from ccli.fitting.training import count_correct
from ccli.methods import lp_plus_plus
from ccli.results.methods import METHODS
from ccli.trainers.common.base import FeatureTrainer, options

extend_cfg = options("LPPLUSPLUS", STEPS=300)  # full-batch steps; which one is kept is chosen


@TRAINER_REGISTRY.register()
class LPPlusPlus(FeatureTrainer):
    method = METHODS["LPPlusPlus"]
    head_module = lp_plus_plus
    limits = {"TRAINER.LPPLUSPLUS.STEPS": "an integer >= 1"}

    def make_head(self, task: FewShotTask) -> torch.nn.Module:
        return lp_plus_plus.fit(task, self.cfg.TRAINER.LPPLUSPLUS.STEPS)

    def select(self, how: str) -> dict[str, float]:
        steps = self.cfg.TRAINER.LPPLUSPLUS.STEPS
        counts = torch.zeros(steps, dtype=torch.long, device=self.device)
        for task, split in selection.splits(how, self.task, self.cfg.SEED):

            def watch(step: int, head: torch.nn.Module, split=split) -> None:
                counts[step] += count_correct(head, split)

            lp_plus_plus.fit(task, steps, watch)
        counts = counts.tolist()
        if any(counts):
            steps = 1 + counts.index(max(counts))
            self.head.load_state_dict(lp_plus_plus.fit(self.task, steps).state_dict())
        if how == "cross-validation":
            folds = selection.splits(how, self.task, self.cfg.SEED)
            list(self.keep((lp_plus_plus.fit(task, steps), split) for task, split in folds))
        return {"steps": steps}
