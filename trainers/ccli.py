"""CCLI: Cross-Modal Concept Learning and Inference (Zhang, Zhang, Tang, He; arXiv 2307.15460)."""

from __future__ import annotations

import torch
from dassl.engine import TRAINER_REGISTRY

from ccli.concepts import representation
from ccli.concepts.discovery import SOURCES, concept_vectors, some_of
from ccli.concepts.representation import KINDS
from ccli.errors import CcliError, nearest
from ccli.features.task import FewShotTask
from ccli.fitting import selection
from ccli.fitting.training import adamw_cosine
from ccli.methods import concept_inference
from ccli.trainers.common.base import FeatureTrainer
from ccli.trainers.common.base import extend_cfg as extend_base
from ccli.trainers.common.checks import are_numbers

NETWORKS = ("mlp", "convex")
CRITERIA = ("accuracy", "likelihood")


def extend_cfg(cfg) -> None:
    """Add TRAINER.CCLI and the keys that all feature trainers share."""
    from yacs.config import CfgNode

    extend_base(cfg)
    cfg.TRAINER.setdefault("CCLI", CfgNode())
    node = cfg.TRAINER.CCLI
    node.setdefault("SOURCE", "visual")  # visual (the method) | text | random | images | features | none (controls)
    node.setdefault("NUM_CONCEPTS", 0)  # a random part of the vocabulary; 0 is all of it
    node.setdefault("TOP_K", 3)  # images behind a visual concept
    node.setdefault("TEXT_SHARE", 0.0)  # of the text concept in what images are compared with, 0 to 1
    node.setdefault("REPRESENTATION", "plain")  # plain | standardised | affinity | space
    node.setdefault("BETA", 5.0)  # sharpness of affinity
    node.setdefault("CLASS_AXES", True)  # space: class texts are a group of concepts, too
    node.setdefault("DISTINCTIVE", 0.0)  # space: the power of its distinctiveness that a concept is weighted by
    node.setdefault("NETWORK", "mlp")  # mlp (AdamW, OPTIM.MAX_EPOCH epochs) | convex (one layer, penalised likelihood)
    node.setdefault("HIDDEN", 512)  # mlp: width of the hidden layer
    node.setdefault("PENALTY", 0.3)  # convex: lambda
    node.setdefault("TEMPERATURE", 1.0)  # share of the logit scale that zero-shot logits keep
    node.setdefault("ALPHA", 1.0)  # weight of the network while it is fitted, and where nothing chooses another
    node.setdefault("ALPHAS", (0.0, 0.25, 0.5, 1.0, 2.0))  # candidates, as multiples of ALPHA; 0 is zero-shot
    node.setdefault("CRITERION", "accuracy")  # accuracy | likelihood: what alpha is chosen by, of the held-out labels


@TRAINER_REGISTRY.register()
class CCLI(FeatureTrainer):
    """Visual concepts from the shots, images on them, a network that infers the class, fused with zero-shot."""

    uses_concepts = True
    uses_views = True
    option_names = FeatureTrainer.option_names | {
        "the network's weight": "TRAINER.CCLI.ALPHA", "the temperature": "TRAINER.CCLI.TEMPERATURE",
        "the penalty": "TRAINER.CCLI.PENALTY",
    }  # fmt: skip

    def check_cfg(self, cfg) -> None:
        super().check_cfg(cfg)
        node = cfg.TRAINER.CCLI
        known_values = {"SOURCE": SOURCES, "REPRESENTATION": KINDS, "NETWORK": NETWORKS, "CRITERION": CRITERIA}
        for key, known in known_values.items():
            if node[key] not in known:
                hint = nearest(str(node[key]), known)
                raise CcliError(f"unknown TRAINER.CCLI.{key} {node[key]!r}; use one of {', '.join(known)}.{hint}")
        for key in ("TOP_K", "HIDDEN", "PENALTY", "TEMPERATURE", "ALPHA", "BETA"):
            if not node[key] > 0:
                raise CcliError(f"TRAINER.CCLI.{key} is {node[key]}; it must be above 0")
        for key in ("NUM_CONCEPTS", "DISTINCTIVE"):
            if node[key] < 0:
                raise CcliError(f"TRAINER.CCLI.{key} is {node[key]}; it must be 0 or more")
        if node.SOURCE == "none" and not (node.REPRESENTATION == "space" and node.CLASS_AXES):
            raise CcliError("TRAINER.CCLI.SOURCE none leaves class texts alone: REPRESENTATION space, CLASS_AXES True")
        if not 0 <= node.TEXT_SHARE <= 1:
            raise CcliError(f"TRAINER.CCLI.TEXT_SHARE is {node.TEXT_SHARE}; it must lie between 0 and 1")
        if not are_numbers(node.ALPHAS) or 0.0 not in node.ALPHAS or min(node.ALPHAS) < 0:
            raise CcliError(f"TRAINER.CCLI.ALPHAS {tuple(node.ALPHAS)} must hold 0 (zero-shot) and nothing below")
        if node.NETWORK == "mlp" and cfg.OPTIM.MAX_EPOCH < 1:
            raise CcliError("TRAINER.CCLI.NETWORK mlp needs OPTIM.MAX_EPOCH of 1 or more")

    def make_head(self, task: FewShotTask) -> torch.nn.Module:
        node, seed = self.cfg.TRAINER.CCLI, max(self.cfg.SEED, 0)
        concepts = concept_vectors(
            node.SOURCE, task.concept_features, task.train.features, node.TOP_K, seed, node.TEXT_SHARE
        )
        r = representation.build(node.REPRESENTATION, concepts, task, node.BETA, node.CLASS_AXES, node.DISTINCTIVE)
        return concept_inference.build(
            r, task, network=node.NETWORK, hidden=node.HIDDEN, penalty=node.PENALTY, temperature=node.TEMPERATURE,
            alpha=node.ALPHA, seed=seed,
        )  # fmt: skip

    def make_task(self) -> FewShotTask:
        task = super().make_task()
        return task.of_concepts(some_of(len(task.concepts), self.cfg.TRAINER.CCLI.NUM_CONCEPTS))

    def make_optim(self, head: torch.nn.Module, task: FewShotTask):
        if self.cfg.TRAINER.CCLI.NETWORK == "convex":
            return None, None
        optim = self.cfg.OPTIM
        return adamw_cosine(head, optim.LR, optim.WEIGHT_DECAY, self.batches_per_epoch(task) * optim.MAX_EPOCH)

    def select(self) -> tuple[str, dict]:
        """Alpha, by the protocol."""
        node, how = self.cfg.TRAINER.CCLI, self.chosen_on()
        alphas, alpha = [node.ALPHA * a for a in sorted(node.ALPHAS)], node.ALPHA
        self.head.eval()
        if how in selection.HELD_OUT:
            alpha = selection.choose(alphas, selection.score(self.held_out(how), alphas, node.CRITERION))
        return how, self.set_chosen(alpha=alpha)

    def head_from_state(self, state: dict[str, torch.Tensor]) -> torch.nn.Module:
        return concept_inference.from_state(state)
