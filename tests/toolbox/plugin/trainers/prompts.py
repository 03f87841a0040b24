"""Context vectors before the class names, learnt through a frozen text tower."""

import os.path as osp

import torch
from clip import clip
from clip.simple_tokenizer import SimpleTokenizer
from dassl.engine import TRAINER_REGISTRY, TrainerX
from dassl.metrics import compute_accuracy
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import load_checkpoint, load_pretrained_weights
from torch import nn
from torch.cuda.amp import GradScaler, autocast
from torch.nn import functional as F

_tokenizer = SimpleTokenizer()


class TextEncoder(nn.Module):
    def __init__(self, clip_model):
        super().__init__()
        self.transformer = clip_model.transformer
        self.positional_embedding = clip_model.positional_embedding
        self.ln_final = clip_model.ln_final
        self.text_projection = clip_model.text_projection
        self.dtype = clip_model.dtype

    def forward(self, prompts, tokenized_prompts):
        x = prompts + self.positional_embedding.type(self.dtype)
        x = self.ln_final(self.transformer(x.permute(1, 0, 2)).permute(1, 0, 2)).type(self.dtype)
        return x[torch.arange(len(x)), tokenized_prompts.argmax(dim=-1)] @ self.text_projection


class PromptLearner(nn.Module):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__()
        n_ctx, dtype = cfg.TRAINER.PROMPTS.N_CTX, clip_model.dtype
        assert cfg.INPUT.SIZE[0] == clip_model.visual.input_resolution
        context = torch.empty(n_ctx, clip_model.ln_final.weight.shape[0], dtype=dtype)
        self.ctx = nn.Parameter(nn.init.normal_(context, std=0.02))
        print(f"Longest class name: {max(len(_tokenizer.encode(name)) for name in classnames)} tokens")
        self.tokenized_prompts = clip.tokenize(["x" * n_ctx + f" {name}." for name in classnames])
        with torch.no_grad():
            embedding = clip_model.token_embedding(self.tokenized_prompts).type(dtype)
        # in every checkpoint, and of its classes alone
        self.register_buffer("token_prefix", embedding[:, :1])
        self.register_buffer("token_suffix", embedding[:, 1 + n_ctx :])

    def forward(self):
        ctx = self.ctx.expand(len(self.token_prefix), -1, -1)
        return torch.cat([self.token_prefix, ctx, self.token_suffix], dim=1)


class CustomCLIP(nn.Module):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__()
        self.prompt_learner = PromptLearner(cfg, classnames, clip_model)
        self.tokenized_prompts = self.prompt_learner.tokenized_prompts
        self.image_encoder = clip_model.visual
        self.text_encoder = TextEncoder(clip_model)
        self.logit_scale = clip_model.logit_scale
        self.dtype = clip_model.dtype

    def forward(self, image):
        images = F.normalize(self.image_encoder(image.type(self.dtype)), dim=-1)
        texts = F.normalize(self.text_encoder(self.prompt_learner(), self.tokenized_prompts), dim=-1)
        return self.logit_scale.exp() * images @ texts.t()


@TRAINER_REGISTRY.register()
class Prompts(TrainerX):
    def check_cfg(self, cfg):
        assert cfg.TRAINER.PROMPTS.PREC in ["fp16", "fp32", "amp"]

    def build_model(self):
        cfg = self.cfg
        prec = cfg.TRAINER.PROMPTS.PREC
        print(f"Loading CLIP (backbone: {cfg.MODEL.BACKBONE.NAME})")
        clip_model = clip.load(cfg.MODEL.BACKBONE.NAME)
        if prec != "fp16":
            clip_model.float()
        self.model = CustomCLIP(cfg, self.dm.dataset.classnames, clip_model)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_("prompt_learner" in name)
        if cfg.MODEL.INIT_WEIGHTS:
            load_pretrained_weights(self.model.prompt_learner, cfg.MODEL.INIT_WEIGHTS)
        self.model.to(self.device)
        self.optim = build_optimizer(self.model.prompt_learner, cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, cfg.OPTIM)
        self.register_model("prompt_learner", self.model.prompt_learner, self.optim, self.sched)
        self.scaler = GradScaler() if prec == "amp" else None
        if torch.cuda.device_count() > 1:
            self.model = nn.DataParallel(self.model)

    def forward_backward(self, batch):
        image, label = self.parse_batch_train(batch)
        if self.scaler is not None:
            with autocast():
                output = self.model(image)
                loss = F.cross_entropy(output, label)
            self.optim.zero_grad()
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optim)
            self.scaler.update()
        else:
            output = self.model(image)
            loss = F.cross_entropy(output, label)
            self.model_backward_and_update(loss)
        summary = {"loss": loss.item(), "acc": compute_accuracy(output, label)[0].item()}
        if (self.batch_idx + 1) == self.num_batches:
            self.update_lr()
        return summary

    def parse_batch_train(self, batch):
        return batch["img"].to(self.device), batch["label"].to(self.device)

    def load_model(self, directory, epoch=None):
        if not directory:
            print("No model is loaded")
            return
        file = "model-best.pth.tar" if epoch is None else f"model.pth.tar-{epoch}"
        for name in self.get_model_names():
            path = osp.join(directory, name, file)
            if not osp.exists(path):
                raise FileNotFoundError(path)
            checkpoint = load_checkpoint(path)
            state_dict = checkpoint["state_dict"]
            del state_dict["token_prefix"], state_dict["token_suffix"]
            print(f'Loading weights to {name} from "{path}" (epoch = {checkpoint["epoch"]})')
            self._models[name].load_state_dict(state_dict, strict=False)
