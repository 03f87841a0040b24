"""The pictures that a command line names: files, and folders that are searched."""

import os
import sys
from collections.abc import Iterator, Sequence

from ccli.features.decoding import shown
from ccli.features.image_folder import SUFFIXES


class Pictures:
    """Iterate over picture files: those given, and those below folders, sorted by name within each folder.

    Folders are searched at any depth, without links to folders and hidden ones. Those that cannot be read or hold no
    picture are named on stderr and counted in `problems`.
    """

    def __init__(self, places: Sequence[str]):
        self.places, self.problems = places, 0

    def __iter__(self) -> Iterator[str]:
        for place in self.places:
            if not os.path.isdir(place):
                yield place
                continue
            count = 0
            for path in self._below(place):
                count += 1
                yield path
            if not count:
                self._say(f"folder {shown(place)} holds no picture ({', '.join(SUFFIXES)})")

    def _below(self, folder: str) -> Iterator[str]:
        try:
            with os.scandir(folder) as entries:
                entries = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda e: e.name)
        except OSError as error:
            self._say(f"cannot list folder {shown(folder)} ({error.strerror or error})")
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from self._below(entry.path)
            elif entry.name.lower().endswith(SUFFIXES) and os.path.isfile(entry.path):  # False for a link to itself
                yield entry.path

    def _say(self, problem: str) -> None:
        self.problems += 1
        print(f"warning: {problem}", file=sys.stderr)
