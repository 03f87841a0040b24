"""One run, with the flags and functions that plugins have."""

import argparse

import datasets.shades  # noqa: F401
import torch
import trainers.prompts  # noqa: F401
from dassl.config import get_cfg_default
from dassl.engine import build_trainer
from dassl.utils import collect_env_info, set_random_seed, setup_logger

FLAGS = {
    "DATASET.ROOT": "root",
    "OUTPUT_DIR": "output_dir",
    "RESUME": "resume",
    "SEED": "seed",
    "DATASET.SOURCE_DOMAINS": "source_domains",
    "DATASET.TARGET_DOMAINS": "target_domains",
    "INPUT.TRANSFORMS": "transforms",
    "TRAINER.NAME": "trainer",
    "MODEL.BACKBONE.NAME": "backbone",
    "MODEL.HEAD.NAME": "head",
}


def print_args(args, cfg):
    print("***************\n** Arguments **\n***************")
    for key, value in sorted(vars(args).items()):
        print(f"{key}: {value}")
    print("************\n** Config **\n************")
    print(cfg)


def reset_cfg(cfg, args):
    for key, flag in FLAGS.items():
        if getattr(args, flag):
            cfg.merge_from_list([key, getattr(args, flag)])


def extend_cfg(cfg):
    from yacs.config import CfgNode as CN

    cfg.TRAINER.PROMPTS = CN()
    cfg.TRAINER.PROMPTS.N_CTX = 4
    cfg.TRAINER.PROMPTS.PREC = "fp16"  # fp16, fp32, amp
    cfg.DATASET.SUBSAMPLE_CLASSES = "all"  # all, base or new


def setup_cfg(args):
    cfg = get_cfg_default()
    extend_cfg(cfg)
    if args.dataset_config_file:
        cfg.merge_from_file(args.dataset_config_file)
    if args.config_file:
        cfg.merge_from_file(args.config_file)
    reset_cfg(cfg, args)
    cfg.merge_from_list(args.opts)
    cfg.freeze()
    return cfg


def main(args):
    cfg = setup_cfg(args)
    if cfg.SEED >= 0:
        print(f"Setting fixed seed: {cfg.SEED}")
        set_random_seed(cfg.SEED)
    setup_logger(cfg.OUTPUT_DIR)
    if torch.cuda.is_available() and cfg.USE_CUDA:
        torch.backends.cudnn.benchmark = True
    print_args(args, cfg)
    print(f"** System info **\n{collect_env_info()}\n")
    trainer = build_trainer(cfg)
    if args.eval_only:
        trainer.load_model(args.model_dir, epoch=args.load_epoch)
        trainer.test()
        return
    if not args.no_train:
        trainer.train()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("root", "output-dir", "resume", "config-file", "dataset-config-file", "trainer", "backbone", "head"):
        parser.add_argument(f"--{name}", type=str, default="")
    for name in ("source-domains", "target-domains", "transforms"):
        parser.add_argument(f"--{name}", type=str, nargs="+")
    parser.add_argument("--seed", type=int, default=-1)
    parser.add_argument("--eval-only", action="store_true")
    parser.add_argument("--model-dir", type=str, default="")
    parser.add_argument("--load-epoch", type=int)
    parser.add_argument("--no-train", action="store_true")
    parser.add_argument("opts", default=None, nargs=argparse.REMAINDER)
    main(parser.parse_args())
