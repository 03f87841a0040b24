"""The report for people, in Markdown."""

from pathlib import Path

from ccli.files.atomic import write_whole

PAGE = "gpu_check.md"


def write_page(report: dict, out: Path) -> None:
    lines = [*_head(report), *(line for step in report["steps"] for line in _step(step)), *_memory(report)]
    write_whole(out / PAGE, "\n".join(lines) + "\n")


def _head(report: dict) -> list[str]:
    lines = ["# GPU check", ""]
    if report["miniature"]:
        lines += [
            "A miniature on a CPU: every size is tiny, and a second pass on the CPU stands for the GPU. "
            "No figure here says anything of a GPU or of speed.",
            "",
        ]
    lines += ["; ".join(f"{name} {value}" for name, value in report["machine"].items()) + ".", ""]
    steps = report["steps"]
    counts = ", ".join(f"{sum(s['status'] == x for s in steps)} {x}" for x in ("done", "failed", "skipped"))
    figures = [figure for step in steps for figure in step["figures"] if figure["met"] is not None]
    met = sum(figure["met"] for figure in figures)
    return [
        *lines,
        f"{len(steps)} steps: {counts}. {met} of {len(figures)} targets met. "
        f"{report['seconds']} s of at most {report['budget']} s.",
        "",
    ]


def _step(step: dict) -> list[str]:
    letter = step["key"][0]
    lines = [f"## ({letter}) {step['title']}", "", f"{step['status']}, {step['seconds']} s", ""]
    if step["figures"]:
        lines += ["| figure | value | target |", "|---|---|---|", *map(_row, step["figures"]), ""]
    return lines + [f"- error: {error}" for error in step["errors"]] + [""] * bool(step["errors"])


def _memory(report: dict) -> list[str]:
    """The peak memory of all steps and runs in one table; the figures are those above."""
    lines = ["## (f) Peak memory", "", "| step | of | MB |", "|---|---|---|"]
    for step in report["steps"]:
        for figure in step["figures"]:
            if "peak memory" in figure["name"]:
                name = figure["name"].replace(": peak memory", "")
                lines.append(f"| {step['key']} | {name} | {figure['value']:.1f} |")
    return lines


def _row(figure: dict) -> str:
    target = ""
    if figure["met"] is not None:
        bounds = [(">=", figure["at_least"]), ("<=", figure["at_most"])]
        wanted = " and ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)
        target = f"{wanted}: {'met' if figure['met'] else 'NOT MET'}"
    return f"| {figure['name']} | {figure['value']:.7g} {figure['unit']} | {target} |".replace("  ", " ")
