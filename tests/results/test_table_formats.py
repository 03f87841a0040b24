"""Formats of tables, read back."""

import csv
import io
import json
import math
import re
from fractions import Fraction

import pytest
from table_records import make

from ccli.errors import CcliError
from ccli.results.paired import ImageTest, PairedTest
from ccli.results.published import Published
from ccli.results.table_formats import FACTS, PAIRED_NOTE, UNPAIRED_NOTE, facts, render
from ccli.results.tables import build_table

# dtd: CCLI 62 ± 2, CoOp 61 (1 seed, -1 on seed 2); cars at 1 shot: CCLI alone
RECORDS = [make(c, seed) for seed, c in enumerate([60, 62, 64], 1)]
RECORDS += [make(61, 2, "CoOp"), make(1, 1, dataset="cars", shots=1, total=3)]
TESTS = [
    PairedTest("CCLI", "CoOp", "", 3, 1, 1.25, 0.0123, (ImageTest("dtd", 16, 1, 9, 1, 0.02, 0.04),)),
    PairedTest("CCLI", "A_B", "s|t", 1, 1, -0.5, None, ()),
]


def test_latex_line_by_line():
    assert render(build_table(RECORDS, "dataset", "CCLI"), "latex").splitlines() == [
        r"% needs \usepackage{booktabs}",
        r"\begin{tabular}{llrrrr}",
        r"\toprule",
        r"shots & trainer & dtd & to CCLI & cars & to CCLI \\",
        r"\midrule",
        r"1 shot & CCLI & -- &  & 33.33 (1 seed) &  \\",
        r"\midrule",
        r"16 shots & CCLI & \textbf{62.00 $\pm$ 2.00} &  & -- &  \\",
        r"16 shots & CoOp & 61.00 (1 seed) & $-1.00$ & -- & -- \\",
        r"\midrule",
        r"16 shots & CCLI to the best other & $+1.00$ (CoOp, 1 seed) &  & -- &  \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_latex_escapes_what_is_special_and_stays_balanced():
    name = 'a_b & 50% $x$ #1 {y} \\z ~ ^ <|> "q"'
    records = [make(60, trainer=name, protocol="paper", selected_by="test"), make(50, trainer="[x]", dataset="a\nb")]
    text = render(build_table(records, published=[Published("a\nb", "Y", "RN50", 16, Fraction(1))]), "latex", TESTS)
    assert r"a\_b \& 50\% \$x\$ \#1 \{y\} \textbackslash{}z \textasciitilde{} \textasciicircum{} " in text
    assert r"\textless{}\textbar{}\textgreater{} \textquotedbl{}q\textquotedbl{} $\dagger$ &" in text
    assert "Y (RN50) $\\ddagger$" in text and "{}[x] &" in text and "s\\textbar{}t" in text
    plain = re.sub(r"\\[&%$#_{}]", "", text)  # what is left is markup
    assert plain.count("{") == plain.count("}") and plain.count("$") % 2 == 0
    assert plain.isascii() and "#" not in plain and "_" not in plain
    for grid in re.findall(r"\\begin{tabular}{(l+r+)}(.*?)\\end{tabular}", plain, re.S):
        rows = [line for line in grid[1].splitlines() if line.endswith(r"\\")]
        assert len(rows) >= 3 and {row.count("&") for row in rows} == {len(grid[0]) - 1}
    assert plain.count(r"\begin{tabular}") == plain.count(r"\end{tabular}") == 2
    assert [line for line in plain.splitlines() if "%" in line] == [r"% needs \usepackage{booktabs}"] * 2


def test_github_escapes_bars_and_line_breaks():
    text = render(build_table([make(60, trainer="a\\|b\nc"), make(50, trainer="d", dataset="e\r\nf")]), "github")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4 and rows[2].startswith(r"| a\\\|b c ") and "e f, 16 shots" in rows[0]
    bare = [re.sub(r"\\[\\|]", "", row) for row in rows]
    assert {row.count("|") for row in bare} == {4}


def rows_of_csv(table):
    return list(csv.DictReader(io.StringIO(render(table, "csv"))))


def test_csv_read_back():
    table = build_table(RECORDS, against="CCLI", published=[Published("dtd", "X", "RN50", 0, Fraction(1, 3))])
    rows = rows_of_csv(table)
    assert tuple(rows[0]) == FACTS and not render(table, "csv").endswith("\n")
    keys = ("name", "protocol", "dataset", "shots", "mean", "std", "seeds", "short", "best", "difference")
    assert [tuple(row[key] for key in keys) for row in rows] == [
        ("CCLI", "validation", "dtd", "16", "62.0", "2.0", "3", "False", "True", ""),
        ("CCLI", "validation", "cars", "1", str(100 / 3), "", "1", "True", "False", ""),
        ("CoOp", "validation", "dtd", "16", "61.0", "", "1", "True", "False", "-1.0"),
        ("X (RN50) ‡", "published", "dtd", "16", str(100 / 3), "", "1", "False", "False", ""),
    ]
    gains = [(row["gain"], row["gain_over"], row["gain_seeds"]) for row in rows]
    assert gains == [("1.0", "CoOp", "1")] + [("", "", "")] * 3


def test_csv_has_no_formulas_and_keeps_commas_and_quotes():
    records = [make(60, trainer='=cmd|"x",1'), make(50, trainer="CCLI", dataset="-2+3"), make(50, trainer="CCLI")]
    rows = rows_of_csv(build_table([*records, make(55, trainer="CoOp")]))
    assert rows[0]["trainer"] == rows[0]["name"] == '\'=cmd|"x",1' and rows[2]["dataset"] == "'-2+3"
    below = {row["gain_over"]: row["gain"] for row in rows}
    assert below['\'=cmd|"x",1'] == "-10.0"  # a number stays one


def test_json_holds_what_csv_holds_and_more():
    records = [make(c, seed, dataset=d) for seed, c in ((1, 60), (2, 63)) for d in ("dtd", "cars")]
    records += [make(50, dataset="dtd", protocol="paper", trainer="CoOp")]
    table = build_table(records, against="CoOp")
    data = json.loads(render(table, "json"), parse_constant=pytest.fail)
    assert data["against"] == "CoOp" and data["notes"] == list(table.notes) and "paired" not in data
    assert data["cells"] == facts(table) and len(data["cells"]) == 4
    shown = [{name: "" if value is None else str(value) for name, value in cell.items()} for cell in data["cells"]]
    assert shown == rows_of_csv(table)
    average = data["cells"][2]
    assert (average["dataset"], average["aggregate"], average["mean"]) == ("average over 2 data sets", True, 61.5)
    assert average["std"] == pytest.approx(1.5 * math.sqrt(2))  # 1.5 and 1.5 from the mean
    assert [cell["aggregate"] for cell in data["cells"]] == [False, False, True, False]
    assert [cell["std"] for cell in data["cells"]][3] is None
    assert json.loads(render(build_table(RECORDS), "json"))["against"] is None


def test_paired_tests_below_a_table():
    table = build_table(RECORDS)
    for fmt, minus, missing in (("github", "-0.50", "-"), ("simple", "-0.50", "-"), ("latex", "$-0.50$", "--")):
        text = render(table, fmt, TESTS)
        rows = [re.split(r" *\\\\$| *\| *|  +| & ", line) for line in text.splitlines() if " against " in line]
        rows = [[cell for cell in row if cell] for row in rows]
        assert rows[0][:2] == ["CCLI against CoOp", "3 (1 equal)"] and rows[0][3:] == ["0.012", "1, 0 of 1"]
        assert rows[1][-4:] == ["1 (1 equal)", minus, missing, missing]
        assert text.startswith(render(table, fmt))
    assert render(table, "simple", TESTS).endswith(PAIRED_NOTE)
    assert render(table, "github", []).endswith("\n\n" + UNPAIRED_NOTE)
    data = json.loads(render(table, "json", TESTS))["paired"]
    assert data[0]["images"] == [TESTS[0].images[0]._asdict()] and data[1]["p"] is None
    assert [(test["better"], test["worse"], test["difference"]) for test in data] == [(1, 0, 1.25), (0, 0, -0.5)]
    assert json.loads(render(table, "json", []))["paired"] == []


def test_bad_formats_are_named():
    with pytest.raises(CcliError, match=r"github, simple, latex, csv, json, got 'latx'.*Did you mean 'latex'"):
        render(build_table(RECORDS), "latx")
    with pytest.raises(CcliError, match=r"no place in the csv.*json"):
        render(build_table(RECORDS), "csv", [])
