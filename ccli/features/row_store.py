"""Rows of features on disk, each computed at most once: safe to share, to kill and to resume.

A store is a folder of blocks, one per encoded batch. A block is a safetensors file whose name is the SHA-256 of its
content. The checksum is compared each time a block is read into memory: rows of a damaged block are encoded again. A
block is written beside its place and moved there, so no half-written block is ever read. Nothing is changed in place
and nothing is unpickled. A lock keeps two processes from encoding the same rows; readers do not need it.
"""

import hashlib
import json
import os
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import filelock
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from ccli.errors import CcliError, os_errors
from ccli.files.atomic import acquire, moved_into_place, remove_leftovers

# positions in the request -> (positions, features [B, D]) batch by batch
Encode = Callable[[list[int]], Iterable[tuple[list[int], torch.Tensor]]]

HELD = 2**26  # bytes of blocks that a store keeps in memory; a small store stays there as a whole
SUFFIX = ".safetensors"
TRIES = 3  # times that rows are encoded again because a block was damaged while it was in use


class StoreError(CcliError):
    """The store's folder cannot be read or written."""


class _Damaged(Exception):
    """A block is gone, or its content does not have the checksum that is its name."""


class NoStore:
    """In place of a `RowStore`, for rows that are encoded each time they are asked for."""

    def rows(self, keys: Sequence[str], encode: Encode) -> torch.Tensor:
        """float32 [len(keys), D], rounded to float16 as those that are kept; each key is encoded once."""
        found: dict[str, torch.Tensor] = {}
        for positions, features in encode(list({key: k for k, key in enumerate(keys)}.values())):
            found |= zip((keys[k] for k in positions), features.half().cpu().float())
        return torch.stack([found[key] for key in keys]) if keys else torch.empty(0, 0)


class RowStore:
    """float16 rows under string keys, for one way of encoding.

    Args:
        root: the folder of all stores.
        spec: everything that the rows depend on beside their key; each spec has a folder of its own.
        lock: name of the lock that one process at a time holds while it encodes.
    """

    def __init__(self, root: str | Path, spec: dict, lock: str = "lock"):
        text = json.dumps(spec, sort_keys=True, indent=1)
        self.folder = Path(root) / hashlib.sha256(text.encode()).hexdigest()[:16]
        self._where: dict[bytes, tuple[str, int]] = {}  # key -> block, row
        self._known: set[str] = set()  # blocks whose keys are in _where
        self._open: OrderedDict[str, torch.Tensor] = OrderedDict()  # blocks in memory, the one used last at the end
        self._spec, self._lock_name = text, lock

    def rows(self, keys: Sequence[str], encode: Encode) -> torch.Tensor:
        """The rows of `keys`, float32 [len(keys), D]; those that are missing are encoded, each key once, and kept.

        Raises:
            StoreError: the folder cannot be read or written; whatever `encode` raises passes through.
        """
        digests = [_digest(key) for key in keys]
        for _ in range(TRIES):
            self._complete(keys, digests, encode)
            try:
                return self._gather(digests)
            except _Damaged:
                self._forget()
        raise StoreError(f"blocks in {self.folder} are damaged again and again; set CCLI_STORE to a folder elsewhere")

    def _complete(self, keys: Sequence[str], digests: list[bytes], encode: Encode) -> None:
        if any(d not in self._where for d in digests):
            self._refresh()
        if any(d not in self._where for d in digests):
            with self._writing():
                self.folder.mkdir(parents=True, exist_ok=True)
                if not (self.folder / "spec.json").exists():
                    _write(self.folder / "spec.json", self._spec.encode())
            with self._lock():
                self._refresh(remove=True)  # another process may have encoded them meanwhile
                missing = {d: k for k, d in enumerate(digests) if d not in self._where}
                for positions, features in encode(list(missing.values())):
                    self._add([digests[k] for k in positions], features)

    def missing(self, keys: Sequence[str]) -> list[int]:
        """Positions of the keys that have no row."""
        self._refresh()
        return [k for k, key in enumerate(keys) if _digest(key) not in self._where]

    def _gather(self, digests: list[bytes]) -> torch.Tensor:
        places: dict[str, list[tuple[int, int]]] = {}
        for k, digest in enumerate(digests):
            block, row = self._where[digest]
            places.setdefault(block, []).append((k, row))
        out = torch.empty(len(digests), self._block(next(iter(places))).shape[1] if places else 0)
        for block, pairs in places.items():
            target, source = zip(*pairs)
            out[list(target)] = self._block(block)[list(source)].float()
        return out

    def _block(self, name: str) -> torch.Tensor:
        """The features of a block. The blocks used last stay in memory, up to HELD bytes."""
        if name not in self._open:
            self._hold(name, self._read(name)["features"])
        self._open.move_to_end(name)
        return self._open[name]

    def _hold(self, name: str, features: torch.Tensor) -> None:
        self._open[name] = features
        while len(self._open) > 1 and len(self._open) * features.nbytes > HELD:
            self._open.popitem(last=False)

    def _read(self, name: str) -> dict[str, torch.Tensor]:
        """A block with the checksum that is its name. A copy: mapped memory would change with the file, unnoticed."""
        path = self.folder / f"{name}{SUFFIX}"
        try:
            content = _found(path, Path.read_bytes)
            if content is None or hashlib.sha256(content).hexdigest() != name:
                raise _Damaged(name)
            block = load(content)
            return {part: block[part] for part in ("keys", "features")}
        except (SafetensorError, KeyError) as error:
            raise _Damaged(name) from error

    def _forget(self) -> None:
        """Forget all blocks, so that they are read again."""
        self._where.clear()
        self._known.clear()
        self._open.clear()

    def _add(self, digests: list[bytes], features: torch.Tensor) -> None:
        features = features.half().cpu().contiguous()
        if not torch.isfinite(features).all():
            raise CcliError(f"the model gave features that are not finite (store {self.folder}); try precision fp32")
        keys = torch.frombuffer(bytearray(b"".join(digests)), dtype=torch.uint8).view(len(digests), -1)
        block = {"keys": keys, "features": features}
        content = save(block)
        name = hashlib.sha256(content).hexdigest()
        with self._writing():
            _write(self.folder / f"{name}{SUFFIX}", content)
        self._take(name, block)

    def _refresh(self, remove: bool = False) -> None:
        """Read the blocks that this process has not read yet; `remove` damaged ones, which needs the lock."""
        files = _found(self.folder, os.listdir) or []  # a glob takes a folder that cannot be read for an empty one
        names = {file.removesuffix(SUFFIX) for file in files if file.endswith(SUFFIX)}
        for name in sorted(names - self._known):
            try:
                self._take(name, self._read(name))
            except _Damaged:
                if remove:
                    self._remove(self.folder / f"{name}{SUFFIX}")
        if remove:
            remove_leftovers(self.folder)

    def _remove(self, path: Path) -> None:
        if not path.exists():  # removed by another process
            return
        warnings.warn(f"{path} is damaged; it is removed and its images are encoded again", stacklevel=5)
        with self._writing():
            path.unlink(missing_ok=True)

    def _take(self, name: str, block: dict[str, torch.Tensor]) -> None:
        self._known.add(name)
        for row, key in enumerate(block["keys"].numpy()):
            self._where.setdefault(key.tobytes(), (name, row))
        self._hold(name, block["features"])

    def _writing(self) -> AbstractContextManager[None]:
        remedy = "make room or set CCLI_STORE to a folder that can be written"
        return os_errors(f"cannot write features to {self.folder}", remedy, StoreError)

    def _lock(self) -> filelock.AcquireReturnProxy:
        """Held by the one process that encodes; the system releases it when that process dies."""
        lock = filelock.FileLock(self.folder / self._lock_name)
        with self._writing():
            return acquire(lock, f"Another process is encoding into {self.folder}; waiting for it")


def _digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _write(path: Path, content: bytes) -> None:
    with moved_into_place(path) as scratch:
        scratch.write_bytes(content)  # no fsync: a block that a power cut emptied has the wrong checksum


def _found(path: Path, read: Callable) -> Any:
    """`read(path)`, or None where there is nothing at this path."""
    remedy = "check its disk and its permissions, or set CCLI_STORE to another folder"
    with os_errors(f"cannot read {path}", remedy, StoreError), suppress(FileNotFoundError, NotADirectoryError):
        return read(path)
    return None
