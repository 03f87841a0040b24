"""What an .npz declares, checked against what it holds before numpy makes room for it."""

import zipfile
from math import prod
from pathlib import Path

import numpy as np

INFLATES = 1032  # bytes that one of deflate's may stand for


def check_size(archive: zipfile.ZipFile, name: str) -> None:
    """Refuse an array that declares more numbers than the file can hold.

    Raises:
        ValueError: it does; zipfile and numpy raise others where the file is damaged otherwise.
    """
    for info in archive.infolist():
        if info.filename.removesuffix(".npy") != name:
            continue
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("it is compressed in a way that numpy does not write")
        most = INFLATES * info.compress_size if info.compress_type == zipfile.ZIP_DEFLATED else info.compress_size
        if info.compress_size > Path(archive.filename).stat().st_size or info.file_size > most:
            raise ValueError(f"it declares {info.file_size} bytes, which the file cannot hold")
        with archive.open(info) as member:
            shape, _, dtype = header(member)
        if min(shape, default=0) < 0 or prod(shape) * max(1, dtype.itemsize) > info.file_size:
            raise ValueError(f"it declares {dtype} of shape {shape}, and has {info.file_size} bytes")


def header(member) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns follow one another, and type of an .npy, which is then at its first number.

    Raises:
        ValueError: it is no array, or of a version that numpy writes for structured arrays alone.
    """
    reads = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(member)
    if version not in reads:
        raise ValueError(f"it is of version {version} of numpy's format, and is read in 1.0 and 2.0")
    return reads[version](member)
