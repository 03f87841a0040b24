"""Features that stay in the bundle's file; rows are read and normalised when they are asked for."""

from __future__ import annotations

import copy
import struct
import tempfile
import zipfile
from math import prod
from pathlib import Path

import numpy as np
import torch

from ccli.errors import CcliError, in_one_line
from ccli.features.task import unit
from ccli.files.npz import header

LARGE = 2**26  # bytes of features in float32; smaller arrays are read as a whole
AT_ONCE = 2**22  # numbers that are read at a time


class LazyRows:
    """Unit rows [n, D] of an array in an .npz, in place of a tensor: shape, len, rows by slice or by index.

    A mask [n] gives another LazyRows with the rows that it keeps. The rows equal those of a tensor of the whole array,
    bit for bit; only the rows that are asked for take memory.
    """

    device: torch.device | str = "cpu"

    def __init__(self, path: str | Path, name: str, shape: tuple[int, int], dtype: np.dtype):
        self.path, self.name, self.shape, self.dtype, self.ndim = Path(path), name, shape, dtype, len(shape)
        self._start, self._kept = 0, None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows) -> torch.Tensor | LazyRows:
        if isinstance(rows, torch.Tensor) and rows.dtype == torch.bool:
            other, kept = copy.copy(self), np.flatnonzero(rows.cpu().numpy())
            other._kept, other.shape = kept if self._kept is None else self._kept[kept], (len(kept), self.shape[1])
            return other
        rows = np.arange(len(self))[rows.cpu().numpy() if isinstance(rows, torch.Tensor) else rows]
        rows = rows if self._kept is None else self._kept[rows]
        out = torch.empty(len(rows), self.shape[1])
        size = max(1, AT_ONCE // max(1, self.shape[1]))
        for k in range(0, len(rows), size):
            out[k : k + size] = unit(self._read(rows[k : k + size]), f"{self.path}: {self.name}")
        return out.to(self.device)

    def to(self, device: torch.device | str) -> LazyRows:
        other = copy.copy(self)
        other.device = device
        return other

    def checked(self, what: str) -> LazyRows:
        """Read the whole array once and refuse damage, rows that are not finite and rows of zeros.

        A compressed array is copied to a temporary file, which can be read at any row.

        Raises:
            CcliError: as `unit`, or the file is damaged.
        """
        with (
            in_one_line(Exception, f"{what} is not readable", "write the bundle again"),  # zlib raises many types
            zipfile.ZipFile(self.path) as archive,
            archive.open(f"{self.name}.npy") as member,
        ):
            header(member)
            self._open(archive.getinfo(f"{self.name}.npy"), member.tell())
            size = max(1, AT_ONCE // self.shape[1])
            for k in range(0, len(self), size):
                wanted = min(size, len(self) - k) * self._bytes_per_row
                content = member.read(wanted)
                if len(content) < wanted:
                    raise EOFError(f"it ends in row {k + len(content) // self._bytes_per_row} of {len(self)}")
                if self._copied:
                    self._file.write(content)
                unit(self._floats(content), what)
            if member.read(1):  # reading to the end also compares the checksum
                raise ValueError("it is longer than its header says")
        if self._copied:
            self._file.flush()
        return self

    @property
    def _bytes_per_row(self) -> int:
        return self.shape[1] * self.dtype.itemsize

    def _open(self, info: zipfile.ZipInfo, header: int) -> None:
        self._copied = info.compress_type != zipfile.ZIP_STORED
        if self._copied:
            self._file, self._start = tempfile.TemporaryFile(), 0  # noqa: SIM115
            return
        self._file = open(self.path, "rb")  # noqa: SIM115
        self._file.seek(info.header_offset)
        name, extra = struct.unpack("<26xHH", self._file.read(30))
        self._start = info.header_offset + 30 + name + extra + header

    def _floats(self, content: bytes) -> torch.Tensor:
        return torch.from_numpy(np.frombuffer(content, self.dtype).astype(np.float32)).view(-1, self.shape[1])

    def _read(self, rows: np.ndarray) -> torch.Tensor:
        """Rows of the file, in float32; consecutive rows are read with one call."""
        runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1) if len(rows) else []
        parts = []
        for run in runs:
            wanted = len(run) * self._bytes_per_row
            self._file.seek(self._start + int(run[0]) * self._bytes_per_row)
            content = self._file.read(wanted)
            if len(content) < wanted:
                raise CcliError(f"{self.path} was changed while it was in use; start again")
            parts.append(content)
        return self._floats(b"".join(parts))


def large_rows(path: str | Path, name: str) -> LazyRows | None:
    """A large array of floats [n, D] in an .npz; None for small arrays and for other shapes and types."""
    with zipfile.ZipFile(path) as archive:
        if f"{name}.npy" not in archive.namelist():
            return None
        with archive.open(f"{name}.npy") as member:
            shape, by_columns, dtype = header(member)
    if len(shape) != 2 or by_columns or dtype.kind != "f" or 4 * prod(shape) <= LARGE:
        return None
    return LazyRows(path, name, shape, dtype)
