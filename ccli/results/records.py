"""A run's record: the file `result.json`, written last, so that a run is done if and only if it exists.

`ccli.results.schema.Record` documents the fields. The file ends with a digest of itself (`ccli.files.sealed_json`),
which is checked and is not a field of the record. Files without a digest are read, too.

The evaluation of a finished run leaves a record of the test images that it saw. Its trainer, cfg, backbone, shots,
seed, protocol, selected_by and hyper_parameters are those of the run.

A run that failed in a sweep leaves its traceback, `failed.txt`, instead; the next attempt removes it.
"""

import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from ccli import __version__
from ccli.errors import CcliError, in_one_line, os_errors
from ccli.files.atomic import write_whole
from ccli.files.regular import refuse_special
from ccli.files.sealed_json import FIELD, read_sealed, sealed
from ccli.results.schema import VERSION, record_problem

RECORD = "result.json"
FAILURE = "failed.txt"
NOT_COMPARED = ("seconds", "versions", "images")  # they change from run to run without the result changing


def _to_json(record: dict[str, Any]) -> str:
    """One field per line: readable, and short even with fifty thousand predictions. Raises CcliError."""
    lines = []
    for name, value in record.items():
        what = f"the record's field {name!r} cannot be written"
        with in_one_line((TypeError, ValueError), what, "use plain, finite Python values"):
            lines.append(f"{json.dumps(name)}: {json.dumps(value, allow_nan=False)}")
    return sealed("{\n" + ",\n".join(lines) + "\n}\n")


def write_record(folder: str | Path, record: dict[str, Any]) -> Path:
    """Write a run's record atomically, as the last thing of the run.

    Args:
        folder: the run's output folder; made if absent.
        record: the fields of `ccli.results.schema.Record`; `version` may be left out.

    Returns:
        the path of the file.

    Raises:
        CcliError: a field is missing, malformed, not finite or contradicts another, or the disk refuses.
    """
    record = {"version": VERSION, **record}
    if problem := record_problem(record):
        raise CcliError(f"the record for {folder} {problem}; nothing was written")
    target = Path(folder) / RECORD
    write_whole(target, _to_json(record), durable=True)
    return target


def read_record(folder_or_file: str | Path) -> dict[str, Any]:
    """Read and check a run's record.

    Args:
        folder_or_file: the run's output folder, or the record itself (a name that ends in .json).

    Raises:
        CcliError: the record is missing, damaged, of another version, incomplete, or contradicts itself.
    """
    path = Path(folder_or_file)
    if path.name != RECORD and (path.is_dir() or path.suffix != ".json"):
        path = path / RECORD
    remedy = "delete it and repeat the run"
    damaged = in_one_line(ValueError, f"{path} is damaged", remedy, longest=100)
    with damaged, os_errors(f"{path} cannot be read", "check its permissions"):
        if path.is_dir():
            raise CcliError(f"{path} is a folder, where a run writes a file of that name; rename or remove it")
        if not path.exists():
            raise CcliError(f"{path} does not exist; a run writes it when it ends, so finish the run")
        record = read_sealed(path)
    if problem := record_problem(record):
        raise CcliError(f"{path} {problem}; {remedy}")
    record.pop(FIELD, None)
    return record


def is_done(folder: str | Path) -> bool:
    """Whether the run in this folder has ended: it has a record, and the record is a good one.

    Raises:
        CcliError: the disk does not say, so that there may be a result which must not be written over.
    """
    return try_record(folder)[0] is not None


def try_record(folder: str | Path) -> tuple[dict[str, Any] | None, str]:
    """(the record of the run in a folder, ""), or (None, what is wrong with it).

    Raises:
        CcliError: the disk does not say, so that there may be a result which must not be written over.
    """
    try:
        return read_record(Path(folder) / RECORD), ""
    except CcliError as error:
        if isinstance(error.__cause__, OSError):
            raise
        return None, str(error)


def find_records(root: str | Path) -> tuple[list[tuple[Path, dict[str, Any]]], list[str]]:
    """Every record below a folder.

    Returns:
        (records, problems): records are (path, record), sorted by path; problems are one line for each bad record and
        for each failed run.

    Raises:
        CcliError: there is no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise CcliError(f"no such folder: {root}; give the folder that holds finished runs")
    records, problems = [], []
    files = _files_below(root, problems)
    for path in (path for path in files if path.name == RECORD):
        try:
            records.append((path, read_record(path)))
        except CcliError as error:
            problems.append(str(error))
    failed = [path for path in files if path.name == FAILURE and not (path.parent / RECORD).exists()]
    problems += [f"{path.parent} failed: {_last_line(path)}" for path in failed]
    return records, problems


def _files_below(root: Path, problems: list[str]) -> list[Path]:
    """Records (or folders of that name) and failures, sorted. A folder that cannot be read is a problem: to rglob it is
    an empty one."""

    def unreadable(error: OSError) -> None:
        problems.append(f"{error.filename} cannot be read ({error.strerror or error}); its runs are left out")

    walk = os.walk(root, onerror=unreadable)
    found = (Path(at, name) for at, folders, files in walk for name in (*folders, *files))
    return sorted(path for path in found if path.name in (RECORD, FAILURE))


def _last_line(path: Path) -> str:
    """A traceback's last line, which says what was wrong."""
    try:
        refuse_special(path)
        return path.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2][:300]
    except (OSError, CcliError) as error:
        return f"{path} cannot be read ({getattr(error, 'strerror', '') or error})"


def same_record(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Names of the fields in which two records differ, sorted, but for those of NOT_COMPARED.

    Values are compared as JSON would store them, so a record in memory equals the same record read back.
    """

    def stored(record: dict[str, Any], name: str) -> str | None:
        return json.dumps(record[name], sort_keys=True) if name in record else None

    names = (a.keys() | b.keys()) - set(NOT_COMPARED)
    return sorted(name for name in names if stored(a, name) != stored(b, name))


def leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """A nested configuration's options and their values; the names of nodes are joined by dots."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def fingerprint(record: dict[str, Any]) -> str:
    """16 hex digits that two records share if and only if `same_record` finds no difference."""
    kept = {name: value for name, value in record.items() if name not in NOT_COMPARED}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def is_evaluation(record: dict[str, Any]) -> bool:
    """Whether a record is of a finished run that was only tested, rather than of the run itself."""
    return "run" in record or "trained_on" in record


def versions() -> dict[str, str | int | None]:
    """What a run ran on: versions of python, ccli, torch, numpy and open_clip (None where absent), and `threads`.

    `threads` is torch's thread count, on which the last bits of a sum depend; None where torch is not imported.
    """
    found: dict[str, str | int | None] = {"python": platform.python_version(), "ccli": __version__}
    for name, distribution in {"torch": "torch", "numpy": "numpy", "open_clip": "open_clip_torch"}.items():
        try:
            found[name] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            found[name] = None
    torch = sys.modules.get("torch")
    return found | {"threads": torch.get_num_threads() if torch else None}
