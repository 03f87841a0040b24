"""LinearProbe: logistic regression on image features (Radford et al., 2021; C as in CoOp's lpclip)."""

import torch
from dassl.engine import TRAINER_REGISTRY

from ccli.features.task import FewShotTask
from ccli.fitting import selection
from ccli.fitting.training import correct
from ccli.methods import linear_probe
from ccli.results.methods import METHODS
from ccli.trainers.common.base import FeatureTrainer, options

extend_cfg = options("LINEARPROBE", C=100.0)  # inverse penalty, where nothing chooses another


@TRAINER_REGISTRY.register()
class LinearProbe(FeatureTrainer):
    method = METHODS["LinearProbe"]
    uses_text = False
    head_module = linear_probe
    limits = {"TRAINER.LINEARPROBE.C": "a number > 0"}

    def make_head(self, task: FewShotTask, c: float | None = None) -> torch.nn.Module:
        c = self.cfg.TRAINER.LINEARPROBE.C if c is None else c
        return linear_probe.fit(task.train.features, task.train.labels, c, task.num_classes).to(self.device)

    def select(self, how: str) -> dict[str, float]:
        c = self.cfg.TRAINER.LINEARPROBE.C
        if how in selection.HELD_OUT:
            c = linear_probe.search(lambda c: sum(correct(*pair) for pair in self._pairs(how, c)))
            self.head.load_state_dict(self.make_head(self.task, c).state_dict())
            if how == "cross-validation":
                list(self.keep(self._pairs(how, c)))
        return {"C": float(c)}

    def _pairs(self, how: str, c: float):
        """Probes with this C, and images to choose on."""
        return ((self.make_head(part, c), images) for part, images in selection.splits(how, self.task, self.cfg.SEED))
