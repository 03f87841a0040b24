"""TipAdapter and TipAdapterF: a cache of the shots beside zero-shot, fixed or trained (Zhang et al., ECCV 2022)."""

import torch
from dassl.engine import TRAINER_REGISTRY

from ccli.features.task import FewShotTask
from ccli.fitting import selection
from ccli.fitting.training import adamw_cosine
from ccli.methods import tip_adapter
from ccli.results.methods import METHODS
from ccli.trainers.common.base import FeatureTrainer, extend_cfg
from ccli.trainers.common.gradient import GradientTrainer

__all__ = ["TipAdapter", "TipAdapterF", "extend_cfg"]

TRAINING_BETA = 1.0


class _Cache:
    """What both have: a cache built with the authors' constants, and their grid over beta and alpha."""

    head_module = tip_adapter
    trainable = False

    def make_head(self, task: FewShotTask) -> torch.nn.Module:
        return tip_adapter.build(task, self._constants().alpha, TRAINING_BETA, self.trainable)

    def _constants(self):
        return tip_adapter.constants(self.dm.dataset.short_name)

    def choose_weights(self, how: str, fit) -> dict:
        """Beta and alpha by the authors' grid, on what the protocol gives."""
        constants = self._constants()
        beta, alpha = TRAINING_BETA, constants.alpha
        if how in selection.HELD_OUT:
            betas, alphas = tip_adapter.grid(constants.beta_scale, constants.alpha_scale)
            beta, alpha = tip_adapter.choose(tip_adapter.search(self.held_out(how, fit), betas, alphas), betas, alphas)
        return self.set_chosen(beta=float(beta), alpha=float(alpha))


@TRAINER_REGISTRY.register()
class TipAdapter(_Cache, FeatureTrainer):
    method = METHODS["TipAdapter"]

    def select(self, how: str) -> dict[str, float]:
        return self.choose_weights(how, self.fit)


@TRAINER_REGISTRY.register()
class TipAdapterF(_Cache, GradientTrainer):
    method = METHODS["TipAdapterF"]
    trainable = True

    def authors_epochs(self) -> int:
        return self._constants().epochs

    def make_optim(self, head: torch.nn.Module, task: FewShotTask):
        optim = self.cfg.OPTIM
        steps = self.batches_per_epoch(task) * self.planned_epochs()
        return adamw_cosine(head, optim.LR, optim.WEIGHT_DECAY, steps, eps=1e-4)

    def select_more(self, how: str) -> dict:
        return self.choose_weights(how, self.fit_chosen)
