"""Damage to an .npz: to its arrays, to the headers that declare them, and to the archive around them."""

import io
import re
import zipfile
from random import Random

import numpy as np

from stress.fuzz.mutations import damage_bytes

DTYPES = (
    "<f2", "<f4", "<f8", ">f4", ">f8", "<f16", "<i1", "<i8", ">i4", "<u8", "?", "<c8", "<U1", "<U0", "<S3", "S0",
    "<M8[s]", "<m8[D]", "V3", "V0", "O", [("a", "<f4"), ("b", "<U2")],
)  # fmt: skip
HUGE = (10**6, 10**9, 10**12, 2**63 - 1, 2**64, 10**30, -1)
VALUES = (np.nan, np.inf, -np.inf, 0, -1, 1e38, 65504, 1e-8, 2**40)
HEADERS = (  # in place of numpy's own
    "{'descr': '<f4', 'fortran_order': False, 'shape': (%s, %s), }",
    "{'descr': '<U0', 'fortran_order': False, 'shape': (%s,), }",
    "{'descr': '<U%s', 'fortran_order': False, 'shape': (%s,), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (%s,), }",
    "{'descr': '<f4', 'fortran_order': True, 'shape': (0, %s), }",
    "{'descr': [('a', '<f4', (%s,))], 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '<f2', 'fortran_order': 3, 'shape': [%s], }",
    "{'descr': '<f2', 'shape': (%s,)}",
    "{'descr': '<i8', 'fortran_order': False, 'shape': (), 'x': %s}",
)


def damage_archive(rng: Random, arrays: dict[str, np.ndarray]) -> bytes:
    """The file with one to three damaged members, and in one of four cases with damaged bytes."""
    members = {name: npy(array) for name, array in arrays.items()}
    for _ in range(rng.randint(1, 3)):
        name, kind = rng.choice(list(arrays)), rng.randrange(8)
        if kind < 4:
            members[name] = npy(_damaged(rng, arrays[name]))
        elif kind == 4:
            members.pop(name, None)
        elif kind == 5:
            members[name] = bomb(rng)
        elif kind == 6:
            members[name] = damage_bytes(rng, members.get(name, b""))
        else:
            members[rng.choice((name, name + "x", "../x", "train_features", ""))] = members.get(name, b"")
    content = _zipped(rng, members)
    if rng.randrange(6) == 0:
        content = _misdeclared(rng, content)
    return damage_bytes(rng, content) if rng.randrange(4) == 0 else content


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=True)
    return file.getvalue()


def bomb(rng: Random, header: str = "") -> bytes:
    """A few bytes that declare a huge array."""
    text = header or rng.choice(HEADERS)
    text = text % tuple(rng.choice(HUGE) for _ in range(text.count("%s")))
    if rng.randrange(20) == 0:
        text = "(" * 4000 + text
    content = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(content).to_bytes(2, "little") + content + b"\0" * rng.choice((0, 4, 400))


def _damaged(rng: Random, array: np.ndarray) -> np.ndarray:
    """The array as another type or shape, or with another number in it."""
    kind = rng.randrange(3)
    with np.errstate(all="ignore"):
        if kind == 0:
            dtype = rng.choice(DTYPES)
            try:
                return array.astype(dtype)
            except (TypeError, ValueError):
                return np.zeros(array.shape, dtype)
        if kind == 1:
            row = np.atleast_1d(array)
            shaped = rng.choice(
                (row[None], row.T, row.ravel(), row[:0], row[..., :0], row[:1], np.array(0.0), row[:-1])
            )
            return np.asfortranarray(shaped) if rng.randrange(4) == 0 else shaped
        array = array.copy()
        if array.size and array.dtype.kind in "fiu":
            array.reshape(-1)[rng.randrange(array.size)] = np.float64(rng.choice(VALUES)).astype(array.dtype)
        return array


def _zipped(rng: Random, members: dict[str, bytes]) -> bytes:
    how = rng.choice((zipfile.ZIP_STORED,) * 5 + (zipfile.ZIP_DEFLATED,) * 2 + (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def _misdeclared(rng: Random, content: bytes) -> bytes:
    """Another number for the flags, method, checksum, sizes or position of a member in the archive's directory."""
    data, starts = bytearray(content), [match.start() for match in re.finditer(b"PK\x01\x02", content)]
    if starts:
        at = rng.choice(starts) + rng.choice((8, 10, 16, 20, 24, 28, 42))
        data[at : at + 4] = rng.choice((0, 1, 8, 99, 2**31, 2**32 - 1)).to_bytes(4, "little")
    return bytes(data)
