"""The table and the figure of an ablation: python -m experiments.ablation OUTPUT/DATASET/CCLI CFG SHOTS

scripts/ablation.sh makes the runs and calls this. Every run of CFG with SHOTS below the folder is compared with the
method's own runs (those without a variant). Writes ablation_CFG_SHOTSshots.pdf and .png into the folder.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ccli.errors import CcliError
from ccli.results.ablation import ablation, ablation_figure, ablation_table
from ccli.results.plots import Plot, save
from ccli.results.records import find_records
from ccli.results.tables import shots_name


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of a trainer's runs on one data set")
    parser.add_argument("cfg", help="the yaml's stem")
    parser.add_argument("shots", type=int)
    args = parser.parse_args()
    try:
        found, problems = find_records(args.folder)
        for problem in problems:
            print(f"ablation: warning: {problem}", file=sys.stderr)
        records = [r for _, r in found if r["cfg"].split("/")[0] == args.cfg and r["shots"] == args.shots]
        records = [record for record in records if "trained_on" not in record]
        lines = ablation(records, args.cfg)
        title = f"{records[0]['dataset']}, {shots_name(args.shots)}"
        plot = Plot(f"ablation_{args.cfg}_{args.shots}shots", title, ablation_figure(lines, title))
        paths = save([plot], args.folder)
    except CcliError as error:
        print(f"ablation: error: {error}", file=sys.stderr)
        return 2
    print(ablation_table(lines))
    print(f"figure: {', '.join(map(str, paths))}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
