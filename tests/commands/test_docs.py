"""What the documents point at is there."""

import re

import pytest
from helpers import ROOT

LINK = re.compile(r"\]\(([^)#\s]+)?(#[^)\s]+)?\)")


def anchors(text: str) -> set[str]:
    """Headings as GitHub makes anchors of them."""
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {"#" + re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.md")) + [ROOT / "toolbox/README.md"], ids=lambda p: p.name)
def test_links_lead_somewhere(path):
    for place, anchor in LINK.findall(path.read_text(encoding="utf-8")):
        if "://" in place:
            continue
        target = path.parent / place if place else path
        assert target.exists(), f"{path.name}: {place}"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{path.name}: {place}{anchor}"


def test_the_scripts_that_the_readme_names_are_there():
    named = set(
        re.findall(
            r"\b(?:bash|python|sbatch(?: --nodes \d+)?) ((?:scripts/)?[\w/]+\.(?:sh|py|sbatch))",
            (ROOT / "README.md").read_text(),
        )
    )
    assert len(named) > 8 and [name for name in named if not (ROOT / name).exists()] == []
