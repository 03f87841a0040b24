"""Files whose code would make a folder, and the scripts of the root in this process."""

import contextlib
import io
import os
import pickle
import sys
from pathlib import Path
from unittest import mock

import torch
from helpers import script


class Trap:
    """Makes a folder when unpickled, which shows whether its code ran."""

    def __init__(self, path: Path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def plain_pickle(path: Path, trap: Path) -> None:
    path.write_bytes(pickle.dumps({"state_dict": Trap(trap), "epoch": 1}))


def torch_zip(path: Path, trap: Path) -> None:
    """As torch.save writes, with weights that look right."""
    torch.save({"state_dict": {"weight": torch.zeros(2), "ctx": torch.zeros(4, 8)}, "epoch": 1, "x": Trap(trap)}, path)


def torch_old(path: Path, trap: Path) -> None:
    """As torch.save wrote before 1.6."""
    torch.save({"state_dict": Trap(trap)}, path, _use_new_zipfile_serialization=False)


PICKLES = {"pickle": plain_pickle, "torch": torch_zip, "old torch": torch_old}


def told(name: str, *argv) -> tuple[str, str]:
    """A script of the root with these arguments: (what it printed, its error, "" where it ended well)."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    arguments = mock.patch.object(sys, "argv", [f"{name}.py", *map(str, argv)])
    with arguments, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = script(name).main()
        except SystemExit as end:
            code = end.code
    printed, error = (stream.buffer.getvalue().decode() for stream in (out, err))
    return printed, (code if isinstance(code, str) else error) if code else ""


def refused(error: str, *words: str) -> None:
    """It was an error of one line that has these words."""
    lines = error.strip().splitlines()
    assert len(lines) == 1 and "error" in lines[0] and "Traceback" not in error, error
    assert all(word in error for word in words), error
