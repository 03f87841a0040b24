"""A run's record: the file `result.json`, written last, so that a run is done if and only if it exists.

Fields of a record (all required, but for calibration and those of evaluations):

    version           int, the layout of the file; filled in by `write_record`
    dataset trainer cfg backbone    str
    shots             int, training images per class; 0 none, -1 all
    seed              int
    protocol          one of PROTOCOLS
    selected_by       one of SELECTED_BY: what chose the hyper-parameters
    correct total     int, test images
    accuracy          float, percent: 100 * correct / total
    per_class         list of {"name": str, "correct": int, "total": int}; their sums are correct and total
    predictions       list of int labels, one per test image, in test order
    labels            list of int, the true ones, likewise
    hyper_parameters  dict
    calibration       {"temperature": above 0, "fitted_on": one of FITTED_ON, "ece", "ece_uncalibrated": 0 to 1}: what
                      logits are divided by before they become probabilities, the images that it comes from, and the
                      expected calibration error of the test images' probabilities, with it and without
    seconds           dict phase -> seconds
    versions          dict, see `versions`; of a run of train.py also its device, and deterministic: whether the same
                      command gives the same bits there (always on a CPU, on a GPU with --deterministic)
    config            str or dict

A run that a sweep could not finish leaves `failed.txt`, the traceback, in its place; the next attempt removes it.

`train.py --eval-only --model-dir RUN` leaves a record of the test images it saw; trainer, cfg, backbone, shots, seed,
protocol, selected_by and hyper_parameters are RUN's there, and it has

    run               str, `fingerprint` of RUN's record
    trained_on        str, RUN's dataset; left out where it is the evaluated one

A run of image files has

    images            str, which changes when one of them is another file: by name, size or time of change

Further fields are kept as they are. The file ends with a digest of itself (`ccli.files.sealed_json`), which is checked
and is no field of the record; one that was written without it is read, too.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from ccli import __version__
from ccli.errors import CcliError
from ccli.files.atomic import moved_into_place
from ccli.files.plain_json import loads
from ccli.files.regular import refuse_special
from ccli.files.sealed_json import FIELD, broken_seal, sealed

RECORD = "result.json"
FAILURE = "failed.txt"
VERSION = 2
PROTOCOLS = ("validation", "fixed", "paper")
SELECTED_BY = ("none", "validation", "cross-validation", "default", "fixed", "test")
NOT_COMPARED = ("seconds", "versions", "images")  # they change from run to run without the result changing


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _is_number(value: Any) -> bool:
    return _is_int(value) or (isinstance(value, float) and math.isfinite(value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_share(value: Any) -> bool:
    """Whether value is {"name", "correct", "total"} with 0 <= correct <= total."""
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        return False
    correct, total = value.get("correct"), value.get("total")
    return _is_int(correct) and _is_int(total) and 0 <= correct <= total


_TEXT = (_is_text, "a non-empty string")
_DICT = (lambda v: isinstance(v, dict), "a dict")
_LABELS = (lambda v: isinstance(v, list) and all(map(_is_int, v)), "a list of integers")
FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "version": (_is_int, "an integer"),
    "dataset": _TEXT,
    "trainer": _TEXT,
    "cfg": (lambda v: isinstance(v, str), "a string"),
    "backbone": _TEXT,
    "shots": (lambda v: _is_int(v) and v >= -1, "an integer: 0 or more, or -1 for all"),
    "seed": (_is_int, "an integer"),
    "protocol": (lambda v: v in PROTOCOLS, f"one of {', '.join(PROTOCOLS)}"),
    "selected_by": (lambda v: v in SELECTED_BY, f"one of {', '.join(SELECTED_BY)}"),
    "correct": (lambda v: _is_int(v) and v >= 0, "an integer of 0 or more"),
    "total": (lambda v: _is_int(v) and v > 0, "an integer of 1 or more"),
    "accuracy": (_is_number, "a finite number"),
    "per_class": (
        lambda v: isinstance(v, list) and all(map(_is_share, v)),
        'a list of {"name", "correct", "total"} with correct <= total',
    ),
    "predictions": _LABELS,
    "labels": _LABELS,
    "hyper_parameters": _DICT,
    "seconds": (
        lambda v: isinstance(v, dict) and all(_is_number(s) and s >= 0 for s in v.values()),
        "a dict of phase -> seconds",
    ),
    "versions": _DICT,
    "config": (lambda v: isinstance(v, str | dict), "a string or a dict"),
}
FITTED_ON = ("validation", "cross-validation", "none")


def _is_calibration(value: Any) -> bool:
    if not isinstance(value, Mapping) or value.get("fitted_on") not in FITTED_ON:
        return False
    numbers = [value.get(name) for name in ("temperature", "ece", "ece_uncalibrated")]
    return all(map(_is_number, numbers)) and numbers[0] > 0 and all(0 <= x <= 1 for x in numbers[1:])


CALIBRATED = {"calibration": (_is_calibration, "a dict of temperature, fitted_on, ece and ece_uncalibrated")}
OF_EVALUATIONS = {"run": _TEXT, "trained_on": _TEXT}
OF_SOME = {"images": _TEXT}


def _problem(record: Any) -> str | None:
    """What is wrong with a record, in words, or None."""
    if not isinstance(record, dict):
        return f"holds a {type(record).__name__} where a record (a dict) belongs"
    # The version comes first: in another layout, a missing field is a consequence and not the cause.
    if _is_int(record.get("version")) and record["version"] != VERSION:
        return f"has version {record['version']}, this code reads version {VERSION}"
    for name in FIELDS:
        if name not in record:
            return f"has no field {name!r}"
    for name, (good, words) in (FIELDS | CALIBRATED | OF_EVALUATIONS | OF_SOME).items():
        if name in record and not good(record[name]):
            return f"has {name} = {repr(record[name])[:60]}, which should be {words}"
    return _contradiction(record)


def _contradiction(record: dict[str, Any]) -> str | None:
    """Where two fields of an otherwise well-formed record contradict each other, or None."""
    correct, total = record["correct"], record["total"]
    if correct > total:
        return f"has correct = {correct} of only {total} test images"
    if not math.isclose(record["accuracy"], 100 * correct / total, rel_tol=1e-9, abs_tol=1e-9):
        return f"has accuracy = {record['accuracy']!r}, but 100 * {correct} / {total} = {100 * correct / total!r}"
    for name in ("correct", "total"):
        summed = sum(share[name] for share in record["per_class"])
        if summed != record[name]:
            return f"has {name} = {record[name]}, but the {name} of per_class sum to {summed}"
    for name in ("predictions", "labels"):
        if len(record[name]) != total:
            return f"has {len(record[name])} {name} for {total} test images"
    right = sum(a == b for a, b in zip(record["predictions"], record["labels"]))
    if right != correct:
        return f"has correct = {correct}, but {right} predictions are their image's label"
    if record["selected_by"] == "test" and record["protocol"] != "paper":
        return (
            f"has selected_by = test under protocol {record['protocol']}; only protocol paper may look at the test set"
        )
    return None


def _to_json(record: dict[str, Any]) -> str:
    """One field per line: readable, and short even with fifty thousand predictions. Raises CcliError."""
    lines = []
    for name, value in record.items():
        try:
            lines.append(f"{json.dumps(name)}: {json.dumps(value, allow_nan=False)}")
        except (TypeError, ValueError) as error:
            raise CcliError(
                f"the record's field {name!r} cannot be written ({error}); use plain, finite Python values"
            ) from error
    return sealed("{\n" + ",\n".join(lines) + "\n}\n")


def write_record(folder: str | Path, record: dict[str, Any]) -> Path:
    """Write a run's record atomically, as the last thing of the run.

    Args:
        folder: the run's output folder; made if absent.
        record: the fields named at the top of this module; `version` may be left out.

    Returns:
        the path of the file.

    Raises:
        CcliError: a field is missing, malformed, not finite or contradicts another, or the disk refuses.
    """
    record = {"version": VERSION, **record}
    problem = _problem(record)
    if problem:
        raise CcliError(f"the record for {folder} {problem}; nothing was written")
    text = _to_json(record)
    target = Path(folder) / RECORD
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with moved_into_place(target) as scratch, open(scratch, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(target.parent)
    except OSError as error:
        raise CcliError(
            f"cannot write {target}: {error.strerror or error}; free space or choose another folder"
        ) from error
    return target


def _sync_folder(folder: Path) -> None:
    """Make a rename in folder survive a power cut; only POSIX can open a folder to do so."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def read_record(folder_or_file: str | Path) -> dict[str, Any]:
    """Read and check a run's record.

    Args:
        folder_or_file: the run's output folder, or the record itself (a name that ends in .json).

    Raises:
        CcliError: the record is missing, truncated, of another version, incomplete, or contradicts itself.
    """
    path = Path(folder_or_file)
    if path.name != RECORD and (path.is_dir() or path.suffix != ".json"):
        path = path / RECORD
    if path.is_dir():
        raise CcliError(f"{path} is a folder, where a run writes a file of that name; rename or remove it")
    refuse_special(path)
    try:
        text = path.read_text(encoding="utf-8")
        record = loads(text, parse_constant=_refuse_constant)
    except (FileNotFoundError, NotADirectoryError):
        raise CcliError(f"{path} does not exist; a run writes it when it ends, so finish the run") from None
    except OSError as error:
        raise CcliError(f"{path} cannot be read ({error.strerror or error}); check its permissions") from error
    except ValueError as error:  # JSON and UTF-8 errors are both ValueErrors
        raise CcliError(f"{path} is truncated or not JSON ({error}); delete it and repeat the run") from error
    problem = _problem(record) or broken_seal(text)
    if problem:
        raise CcliError(f"{path} {problem}; delete it and repeat the run")
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
    """A nested configuration's options, such as ("TRAINER.CCLI.TOP_K", 3)."""
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
    return any(name in record for name in OF_EVALUATIONS)


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
    found["threads"] = torch.get_num_threads() if torch else None
    return found
