"""LinearProbe: logistic regression on image features (Radford et al., 2021; C as in CoOp's lpclip)."""

from __future__ import annotations

import torch
from dassl.engine import TRAINER_REGISTRY

from ccli.errors import CcliError
from ccli.features.task import FewShotTask
from ccli.fitting import selection
from ccli.fitting.training import correct
from ccli.methods import linear_probe
from ccli.results.methods import METHODS
from ccli.trainers.common.base import FeatureTrainer
from ccli.trainers.common.base import extend_cfg as extend_base


def extend_cfg(cfg) -> None:
    """Add TRAINER.LINEARPROBE and the keys that all feature trainers share."""
    from yacs.config import CfgNode

    extend_base(cfg)
    cfg.TRAINER.setdefault("LINEARPROBE", CfgNode())
    cfg.TRAINER.LINEARPROBE.setdefault("C", 100.0)  # inverse penalty, where nothing chooses another


@TRAINER_REGISTRY.register()
class LinearProbe(FeatureTrainer):
    method = METHODS["LinearProbe"]
    uses_text = False
    head_module = linear_probe

    def check_cfg(self, cfg) -> None:
        super().check_cfg(cfg)
        if not cfg.TRAINER.LINEARPROBE.C > 0:
            raise CcliError(f"TRAINER.LINEARPROBE.C is {cfg.TRAINER.LINEARPROBE.C}; it must be above 0")

    def make_head(self, task: FewShotTask) -> torch.nn.Module:
        return self._fit(task, self.cfg.TRAINER.LINEARPROBE.C)

    def _fit(self, task: FewShotTask, c: float) -> torch.nn.Module:
        return linear_probe.fit(task.train.features, task.train.labels, c, task.num_classes).to(self.device)

    def select(self) -> tuple[str, dict]:
        how, c = self.chosen_on(), self.cfg.TRAINER.LINEARPROBE.C
        if how in ("validation", "test", "cross-validation"):
            c = linear_probe.search(lambda c: self._score(how, c))
            self.head.load_state_dict(self._fit(self.task, c).state_dict())
            self.held.keep(self._pairs(how, c) if how == "cross-validation" else ())
        return how, {"C": float(c)}

    def _score(self, how: str, c: float) -> int:
        return sum(correct(head, split) for head, split in self._pairs(how, c))

    def _pairs(self, how: str, c: float):
        """Probes with this C, and images to choose on."""
        whole = self._fit(self.task, c) if how != "cross-validation" else None
        return selection.held_out(how, self.task, whole, lambda task: self._fit(task, c), self.cfg.SEED)
