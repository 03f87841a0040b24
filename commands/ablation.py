"""The table and the figure of an ablation: runs that differ from a method in one option, beside the method.

Every run of CFG with SHOTS below FOLDER is compared with the method's own runs (those without a variant). Writes
ablation_CFG_SHOTSshots.pdf and .png into the folder. scripts/ablation.sh makes the runs and calls this.
"""

import sys
from pathlib import Path

from ccli.commands.parser import Parser
from ccli.results.ablation import ablation, ablation_figure, ablation_table
from ccli.results.plots import Plot, save
from ccli.results.records import find_records
from ccli.results.tables import shots_name

EXAMPLES = """
example:
  PROG output/concept_shapes/CCLI demo_clip 16
"""


def main(argv: list[str], prog: str) -> int:
    parser = Parser(prog, __doc__, EXAMPLES)
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="runs of one method on one data set")
    parser.add_argument("cfg", metavar="CFG", help="stem of the yaml")
    parser.add_argument("shots", metavar="SHOTS", type=int, help="training images per class")
    args = parser.parse_args(argv)
    found, problems = find_records(args.folder)
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)
    records = [r for _, r in found if r["cfg"].split("/")[0] == args.cfg and r["shots"] == args.shots]
    records = [record for record in records if "trained_on" not in record]
    lines = ablation(records, args.cfg)
    title = f"{records[0]['dataset']}, {shots_name(args.shots)}"
    plot = Plot(f"ablation_{args.cfg}_{args.shots}shots", title, ablation_figure(lines, title))
    paths = save([plot], args.folder)
    print(ablation_table(lines))
    print(f"figure: {', '.join(map(str, paths))}", file=sys.stderr)
    return 0
