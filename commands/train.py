"""One run: train a method on a data set, or evaluate a finished run, with CoOp's command line.

Options are merged in this order: the data set's yaml, the trainer's yaml, flags, KEY VALUE pairs. A run ends by writing
result.json into --output-dir, and so does an evaluation. The same command resumes an interrupted run.
"""

import threading

from ccli.commands.parser import Parser
from ccli.errors import of_the_disk
from ccli.sweeps import run

EXAMPLES = """
examples:
  Train CCLI on 16 images per class:
    PROG --root data --seed 1 --trainer CCLI --dataset-config-file configs/datasets/concept_shapes.yaml \\
        --config-file configs/trainers/CCLI/demo_clip.yaml --output-dir output/try DATASET.NUM_SHOTS 16
  Test that run on another data set:
    PROG --root data --seed 1 --trainer CCLI --dataset-config-file configs/datasets/concept_shapes_r.yaml \\
        --config-file configs/trainers/CCLI/demo_clip.yaml --output-dir output/try_r --eval-only --model-dir output/try
`ccli sweep` trains several methods, numbers of shots and seeds without yaml paths.
"""


def main(argv: list[str], prog: str) -> int:
    parser = Parser(prog, __doc__, EXAMPLES)
    args = run.arguments(argv, parser)
    threading.excepthook = _report_in_thread
    run.run(args)
    return 0


def _report_in_thread(problem) -> None:
    """Ignore a disk's error in TensorBoard's thread: the main thread raises it again and ends with one line."""
    if not of_the_disk(problem.exc_value):
        threading.__excepthook__(problem)
