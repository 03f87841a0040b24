"""What is left of a disturbed run against what an undisturbed one left, and the counts that a stress test prints."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from safetensors.torch import load_file

from ccli.inference.saving import FACTS, TENSORS, load_run
from ccli.results.records import RECORD, find_records, read_record, same_record


class Tally:
    """Disturbances by kind, other counts by name, and problems: results that were lost, changed or silently wrong."""

    def __init__(self) -> None:
        self.done, self.more, self.problems = Counter(), Counter(), []

    def add(self, name: str, problems: Iterable[str]) -> None:
        self.problems += [f"{name}: {problem}" for problem in problems]

    def __str__(self) -> str:
        done, more = (", ".join(f"{kind} {n}" for kind, n in counts.items()) for counts in (self.done, self.more))
        first = f"{self.done.total()} ({done}); {more or 'nothing else'}; {len(self.problems)} problems"
        return "\n  ".join([first, *self.problems[:20]])


def stored(out: Path) -> dict[str, bytes]:
    """Every row of the store by its folder and key."""
    rows = {}
    for path in out.glob("store/*/*.safetensors"):
        block = load_file(path)
        for key, row in zip(block["keys"], block["features"]):
            rows[f"{path.parent.name} {key.numpy().tobytes().hex()}"] = row.numpy().tobytes()
    return rows


def differences(out: Path, whole: Path) -> list[str]:
    """Where the results of a disturbed run differ from those of the undisturbed one."""
    found, problems = find_records(out)
    wanted, _ = find_records(whole)
    a, b = ({str(path.relative_to(at)): record for path, record in x} for x, at in ((found, out), (wanted, whole)))
    different = [*problems, *(f"{name} is in one of them alone" for name in sorted(a.keys() ^ b.keys()))]
    for name in sorted(a.keys() & b.keys()):
        fields = [field for field in same_record(a[name], b[name]) if field != "run" and field != "config"]
        different += [f"{name}: {field}" for field in fields + _configs(a[name], b[name], out, whole)]
        if _classifier_differs((out / name).parent, (whole / name).parent):
            different.append(f"the classifier beside {name}")
    if stored(out) != stored(whole):
        different.append("the store")
    return different


def _classifier_differs(one: Path, other: Path) -> bool:
    pairs = [(one / name, other / name) for name in (FACTS, TENSORS)]
    return any(b.exists() and not (a.exists() and a.read_bytes() == b.read_bytes()) for a, b in pairs)


def _configs(a: dict, b: dict, out: Path, whole: Path) -> list[str]:
    """Output folders are another's name for the same."""
    one, other = json.dumps(a["config"]), json.dumps(b["config"])
    return [] if one.replace(str(out), "") == other.replace(str(whole), "") else ["config"]


def half_written(out: Path) -> list[str]:
    """Files that a reader would take for whole and are not; there must be none at any moment."""
    files = [(read_record, path) for path in out.rglob(RECORD)]
    files += [(load_run, path.parent) for path in out.rglob(FACTS)]
    files += [(load_file, path) for path in out.glob("store/*/*.safetensors")]
    wrong = []
    for read, path in files:
        try:
            read(path)
        except Exception as error:
            if "does not belong" not in str(error):  # new tensors beside an earlier attempt's facts are refused
                wrong.append(f"{path}: {error}")
    return wrong
