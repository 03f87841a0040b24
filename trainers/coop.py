"""CoOp: learned context words in front of the class names (Zhou et al., IJCV 2022)."""

from pathlib import Path

import torch
from dassl.engine import TRAINER_REGISTRY

from ccli.clip.model import FrozenClip
from ccli.errors import CcliError
from ccli.features.task import FewShotTask
from ccli.inference.coop_checkpoints import FOLDER, read_context
from ccli.methods import context_optimization
from ccli.methods.context_optimization import POSITIONS
from ccli.results.methods import METHODS
from ccli.trainers.common.base import options
from ccli.trainers.common.gradient import GradientTrainer

EPOCHS = {1: 50, 2: 100, 4: 100, 8: 200, 16: 200}  # by shots; on ImageNet 50

extend_cfg = options(
    "COOP",
    N_CTX=16,  # context vectors
    CSC=False,  # class-specific context
    CTX_INIT="",  # words to start from, such as "a photo of a"; N_CTX is their number then
    CLASS_TOKEN_POSITION="end",  # end | middle | front
    PREC="fp32",  # of CoOp's code; training is in fp32 here whatever it says
)


@TRAINER_REGISTRY.register()
class CoOp(GradientTrainer):
    """Trains through the text tower, on image features from the store."""

    method = METHODS["CoOp"]
    uses_text = False
    reads_class_names = True
    limits = {"TRAINER.COOP.CLASS_TOKEN_POSITION": POSITIONS, "TRAINER.COOP.N_CTX": "an integer >= 1"}

    def check_cfg(self, cfg) -> None:
        if cfg.DATASET.NAME == "FeatureBundle":
            raise CcliError("CoOp learns words for a text tower, which a feature bundle has not; give it images")
        super().check_cfg(cfg)
        if cfg.MODEL.BACKBONE.NAME:
            FrozenClip(cfg.MODEL.BACKBONE.NAME).refuse_without_text_tower()

    def authors_epochs(self) -> int:
        if self.dm.dataset.short_name.startswith("imagenet"):
            return 50
        shots = self.cfg.DATASET.NUM_SHOTS
        return EPOCHS[max(known for known in EPOCHS if known <= shots)] if shots >= 1 else max(EPOCHS.values())

    def chosen_on(self) -> str:
        """As the others, but without a validation set the last epoch: folds would train the text tower's input anew."""
        how = super().chosen_on()
        return "default" if how == "cross-validation" else how

    def make_head(self, task: FewShotTask | None = None) -> torch.nn.Module:
        node, clip = self.cfg.TRAINER.COOP, self.source.clip
        return context_optimization.build(
            clip.text_tower, clip.tokenize, self.source.classnames, self.source.logit_scale, n_ctx=node.N_CTX,
            init=node.CTX_INIT, class_specific=node.CSC, position=node.CLASS_TOKEN_POSITION, seed=max(self.cfg.SEED, 0),
        )  # fmt: skip

    def head_from_state(self, state: dict[str, torch.Tensor]) -> torch.nn.Module:
        head = self.make_head()
        if head.ctx.shape != state["ctx"].shape:
            raise CcliError(
                f"the context has shape {tuple(state['ctx'].shape)}, and here it has {tuple(head.ctx.shape)}: give the "
                "TRAINER.COOP.N_CTX, CSC and CTX_INIT of its training (class-specific context knows its classes alone)"
            )
        head.load_state_dict(state)
        return head

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """A run of ours, or one of CoOp's own code (DIRECTORY/prompt_learner), whose token vectors are dropped."""
        if not (directory and (Path(directory) / FOLDER).is_dir()):
            return super().load_model(directory, epoch)
        self.loaded = (directory, epoch)
        self.head = self.head_from_state({"ctx": read_context(directory, epoch).ctx}).to(self.device).eval()
