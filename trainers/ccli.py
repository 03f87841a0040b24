"""CCLI: Cross-Modal Concept Learning and Inference (Zhang, Zhang, Tang, He; arXiv 2307.15460)."""

from dataclasses import fields

import torch
from dassl.engine import TRAINER_REGISTRY

from ccli.concepts.discovery import random_rows
from ccli.concepts.gallery import Concepts
from ccli.errors import CcliError
from ccli.features.task import FewShotTask
from ccli.fitting import selection
from ccli.fitting.training import adamw_cosine
from ccli.methods import concept_inference
from ccli.methods.ccli import CcliSettings, build, choose_alpha, chosen, describe
from ccli.results.methods import METHODS
from ccli.trainers.common.base import FeatureTrainer, options
from ccli.trainers.common.checks import settings_of

# the fields of CcliSettings
extend_cfg = options("CCLI", **{field.name.upper(): field.default for field in fields(CcliSettings)})


@TRAINER_REGISTRY.register()
class CCLI(FeatureTrainer):
    """Visual concepts from the shots, images on them, a network that infers the class, fused with zero-shot."""

    method = METHODS["CCLI"]
    uses_concepts = True
    head_module = concept_inference
    option_names = FeatureTrainer.option_names | {
        "the network's weight": "TRAINER.CCLI.ALPHA", "the temperature": "TRAINER.CCLI.TEMPERATURE",
        "the penalty": "TRAINER.CCLI.PENALTY",
    }  # fmt: skip

    def check_cfg(self, cfg) -> None:
        super().check_cfg(cfg)
        self.settings = settings_of(CcliSettings, cfg.TRAINER.CCLI, "TRAINER.CCLI")
        if self.settings.source == "none" and not self.settings.class_axes:
            raise CcliError("TRAINER.CCLI.SOURCE none leaves class texts alone: TRAINER.CCLI.CLASS_AXES must be True")
        if self.settings.network == "mlp" and cfg.OPTIM.MAX_EPOCH < 1:
            raise CcliError("TRAINER.CCLI.NETWORK mlp needs OPTIM.MAX_EPOCH of 1 or more")

    def make_task(self) -> FewShotTask:
        task = super().make_task()
        return task.of_concepts(random_rows(len(task.concepts), self.settings.num_concepts))

    def make_head(self, task: FewShotTask) -> torch.nn.Module:
        if task is self.task:
            self.settings = chosen(task, self.settings, self.chosen_on(), self._seed)
        return build(task, self.settings, self._seed)

    @property
    def _seed(self) -> int:
        return max(self.cfg.SEED, 0)

    def make_optim(self, head: torch.nn.Module, task: FewShotTask):
        if self.settings.network != "mlp":
            return None, None
        optim = self.cfg.OPTIM
        return adamw_cosine(head, optim.LR, optim.WEIGHT_DECAY, self.batches_per_epoch(task) * optim.MAX_EPOCH)

    def select(self, how: str) -> dict[str, float]:
        s, alpha = self.settings, self.settings.alpha
        self.head.eval()
        if how in selection.HELD_OUT:
            alpha = choose_alpha(self.held_out(how), s)
        sparse = {"text_share": s.text_share, "penalty": s.penalty, "concepts_per_class": s.concepts_per_class}
        return self.set_chosen(alpha=alpha) | (sparse if s.network == "sparse" else {})

    def describe(self, images: list[str]) -> Concepts | None:
        return describe(self.head, self.task, self.settings, images, self._seed)
