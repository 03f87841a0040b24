"""Prints the wheels of a folder whose packages this Python lacks, one path per line; imports nothing of the project."""

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def missing(folder: Path) -> list[Path]:
    """Wheels that shadow nothing which is installed."""
    return [path for path in sorted(folder.glob("*.whl")) if not _installed(path.name.partition("-")[0])]


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    for wheel in missing(Path(sys.argv[1])):
        print(wheel)
