"""Writes LICENSES-THIRD-PARTY.md: the licence of each locked package, as its own metadata has it.

.venv/bin/python scripts/licences.py            # after scripts/install.sh test
.venv/bin/python scripts/licences.py --check    # only says whether the file is as it would be written
"""

import re
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "LICENSES-THIRD-PARTY.md"
SILENT = {"cuda-toolkit": "not stated; it holds no software and names NVIDIA's other packages"}
HEAD = """# Licences of the packages that are installed

None of them is part of this repository. The column says what the package's own metadata says of it; for wheels that
bundle further libraries (numpy, scipy, torch and others) their licence files have the rest. NVIDIA's packages are
proprietary, come with torch's wheel for Linux and are used only on a GPU.
`scripts/licences.py` writes this file.

| package | version | licence | for |
|---------|---------|---------|-----|
"""


def locked(name: str) -> list[tuple[str, str]]:
    """(package, version) of a lock file, by name."""
    return sorted(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / name).read_text(), re.MULTILINE))


def licence(package: str) -> str:
    """SPDX expression, else classifiers, else the first line of the free text."""
    if package in SILENT:
        return SILENT[package]
    facts = metadata.metadata(package)
    classifiers = [x.rpartition(" :: ")[2] for x in facts.get_all("Classifier") or [] if x.startswith("License ::")]
    text = (facts["License"] or "").strip().splitlines()
    found = facts["License-Expression"] or ", ".join(x for x in classifiers if x != "OSI Approved") or (text or [""])[0]
    return " ".join(found.split())[:80].replace("|", "/")


def table() -> str:
    """The file's text.

    Raises:
        ValueError: a package says nothing of its licence.
    """
    first, rows = dict(locked("requirements.lock")), []
    for package, version in locked("requirements-test.lock"):
        said = licence(package)
        if not said:
            raise ValueError(f"{package} {version} says nothing of its licence; look it up")
        rows.append(f"| {package} | {version} | {said} | {'run' if package in first else 'tests'} |")
    return HEAD + "\n".join(rows) + "\n"


def main() -> None:
    text = table()
    if "--check" not in sys.argv:
        TABLE.write_text(text)
    elif not TABLE.exists() or TABLE.read_text() != text:
        sys.exit(f"{TABLE.name} is not what {Path(__file__).name} would write; run it")


if __name__ == "__main__":
    main()
