"""One bit of a file turned, in each kind of file that is read again: its reader refuses it, or reads what it read."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import torch
from dassl.utils import load_checkpoint
from dassl.utils.torchtools import checkpoint_path

from ccli.errors import CcliError
from ccli.features.row_store import RowStore, _Damaged
from ccli.inference.saving import FACTS, TENSORS, load_run
from ccli.results.records import RECORD, read_record
from ccli.trainers.common.checkpoints import HEAD, RUN, read_checkpoint, read_options
from ccli.trainers.common.gradient import BEST, _read_best
from stress.chaos.compare import Tally
from stress.chaos.work import Work


def random_flips(works: list[Work], place: Path, count: int, rng: Random) -> Tally:
    """`count` flips, over the kinds of files in turn: a file and one of its bits drawn each time."""
    tally = Tally()
    files = {kind: found for kind, found in _files(place / "whole").items() if found}
    for k in range(count):
        kind = list(files)[k % len(files)]
        path, read = rng.choice(files[kind])
        content = path.read_bytes()
        before, damaged, bit = read(), bytearray(content), rng.randrange(8 * len(content))
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        tally.done[kind] += 1
        try:
            if _same(read(), before):
                tally.more[f"in bytes of a {kind} that nothing reads"] += 1
            else:
                tally.add(str(path), [f"bit {bit}: unnoticed"])
        except (CcliError, ValueError, FileNotFoundError, _Damaged):
            tally.more["noticed"] += 1
        except Exception as error:
            tally.add(str(path), [f"bit {bit}: {type(error).__name__}: {error}"])
        finally:
            path.write_bytes(content)
    return tally


def _files(whole: Path) -> dict[str, list[tuple[Path, Callable[[], object]]]]:
    """Kind -> files, each with how it is read."""

    def each(pattern: str, read: Callable[[Path], object]) -> list[tuple[Path, Callable[[], object]]]:
        return [(path, lambda path=path: read(path)) for path in sorted(whole.glob(pattern)) if path.is_file()]

    def block(path: Path) -> object:
        return RowStore(path.parents[1], json.loads((path.parent / "spec.json").read_text()))._read(path.stem)

    def checkpoint(path: Path) -> object:
        mine = read_checkpoint(path.parent, int(path.name.rpartition("-")[2]))
        return [mine, load_checkpoint(str(path))]

    def pointer(path: Path) -> object:
        return [read_checkpoint(path.parent), load_checkpoint(checkpoint_path(str(path.parent)))]

    def classifier(path: Path) -> object:
        load_run(path.parent)
        return json.loads((path.parent / FACTS).read_text())

    return {
        "store": each("*/store/*/*.safetensors", block),
        "checkpoint": each(f"**/{HEAD}/model.pth.tar-*", checkpoint),
        "name of the last checkpoint": each(f"**/{HEAD}/checkpoint", pointer),
        "best epoch": each(f"**/{HEAD}/{BEST}", _read_best),
        "record": each(f"**/{RECORD}", read_record),
        "classifier": each(f"**/{FACTS}", classifier) + each(f"**/{TENSORS}", classifier),
        "options": each(f"**/{RUN}", lambda path: read_options(path.parent)),
    }


def _same(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(map(_same, a, b))
    return type(a) is type(b) and a == b
