"""Write a finished run's classifier as an ONNX model, and with the image tower as another; both are checked."""

from typing import Any

from ccli.commands.answers import load
from ccli.commands.parser import Parser

EXAMPLES = """
example:
  PROG --model-dir output/try model.onnx
"""


def main(argv: list[str], prog: str) -> int:
    parser = Parser(prog, __doc__, EXAMPLES)
    parser.add_argument("path", metavar="ONNX", help="the file to write")
    parser.add_argument("--model-dir", required=True, metavar="RUN", help="the output folder of a finished run")
    parser.add_argument("--backbone", default="", help="where the run's backbone is now, if it has moved")
    args = parser.parse_args(argv)
    return write_onnx(load(args), args.path)


def write_onnx(run: Any, path: str) -> int:
    """Export, and print what was written; returns the exit status."""
    from ccli.inference.onnx_export import export

    found = export(run, path)
    for path in found.paths:
        print(path)
    print(f"checked with onnxruntime: at most {found.difference:.1e} from PyTorch")
    return 0
