"""The check's command line; see scripts/gpu_check.sh."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from gpu_check.figures import Deadline, Figures, last_line
from gpu_check.page import PAGE
from gpu_check.runner import REPORT, Step, apart, in_process, run_steps

BUDGET = 480  # seconds


def steps() -> list[Step]:
    """In the order in which they are run: what matters most first."""
    from gpu_check import across, encoding, features, prompts, sweeping, training

    return [
        Step("a", "Features on the GPU against the CPU", features.run, 70),
        Step("b", "All trainers on concept_shapes, GPU against CPU", training.on_pictures, 90),
        Step("b_strict", "All trainers twice with --deterministic", training.same_bits_twice, 70),
        Step("h", "Runs and predictions across devices", across.run, 60),
        Step("d", "A training step of CoOp", prompts.run, 45),
        Step("e_one", "CCLI at ImageNet's size", training.ccli_at_full_size, 60),
        Step("c", "Images per second", encoding.run, 75),
        Step("g", "Several processes on one GPU", sweeping.jobs, 75),
        Step("e", "The paper's grid of CCLI", sweeping.paper_grid, 320),
        Step("b_large", "All trainers on a bundle of ImageNet's size, GPU against CPU", training.on_large_bundle, 120),
    ]


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="gpu_check.sh")
    parser.add_argument("out", nargs="?", default="output/gpu_check", type=Path, help="folder of the report")
    parser.add_argument("--cpu", action="store_true", help="everything in miniature on the CPU")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds in all")
    parser.add_argument("--only", nargs="+", metavar="KEY", help="these steps, such as a b_strict e")
    parser.add_argument("--apart", action="store_true", help="a process for each step, as on a GPU, with --cpu too")
    parser.add_argument("--work", type=Path, required=True, help=argparse.SUPPRESS)  # the script's temporary folder
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)  # key, end, file: the process of one step
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    args = arguments(argv)
    if args.cpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    args.work.mkdir(parents=True, exist_ok=True)
    return one_step(args) if args.step else check(args)


def one_step(args: argparse.Namespace) -> int:
    """The process of one step."""
    from gpu_check.setting import Setting

    key, end, path = args.step
    step = next(step for step in steps() if step.key == key)
    in_process(step, Setting(args.work, args.cpu, True, Deadline(float(end))), Figures(Path(path)))
    return 0


def check(args: argparse.Namespace) -> int:
    """All steps: on a GPU each in a process of its own, in miniature in this one."""
    import torch

    from gpu_check.machine import machine
    from gpu_check.setting import Setting

    if not (args.cpu or torch.cuda.is_available()):
        print("error: there is no CUDA device here; --cpu runs the check in miniature", file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)

    def carry(step: Step, deadline: Deadline, figures: Figures) -> None:
        print(f"({step.key}) {step.title}", file=sys.stderr)
        if args.cpu and not args.apart:
            in_process(step, Setting(args.work, True, False, deadline), figures)
            return
        words = ["--work", args.work, *["--cpu"] * args.cpu, "--step", step.key, deadline.end, figures.path]
        command = [sys.executable, "-m", "gpu_check", *map(str, words)]
        apart(command, deadline, figures, args.out / "gpu_check.log")

    try:
        facts = machine(args.cpu)
    except Exception as error:  # the figures matter more
        facts = {"device": last_line(error)}
    report = {"miniature": args.cpu, "machine": facts, "budget": args.budget}
    chosen = [step for step in steps() if not args.only or step.key in args.only]
    if args.only and len(chosen) < len(set(args.only)):
        print(f"error: --only takes {' '.join(step.key for step in steps())}", file=sys.stderr)
        return 2
    report = run_steps(chosen, carry, report, args.out, args.budget)
    print(args.out / PAGE, args.out / REPORT, sep="\n")
    return 0 if all(step["status"] == "done" for step in report["steps"]) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
