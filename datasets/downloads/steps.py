"""What fills a data set's folder: the kinds of step, and whether one is done."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ccli.datasets.downloads.fetch import File


@dataclass(frozen=True)
class Archive:
    """An archive and what it brings into the folder (see `archives.extract`); `inner` is an archive in it."""

    file: File
    brings: tuple[str, ...]
    rename: tuple[tuple[str, str], ...] = ()
    inner: str = ""

    @property
    def names(self) -> list[str]:
        """What is in the folder when it is done."""
        new = dict(self.rename)
        return [new.get(name, name) for name in self.brings if "*" not in name]


@dataclass(frozen=True)
class Either:
    """Ways to the same content, in the order in which they are tried."""

    ways: tuple[tuple[Archive, ...], ...]

    @property
    def names(self) -> list[str]:
        return [name for step in self.ways[0] for name in step.names]


@dataclass(frozen=True)
class Plain:
    """A file that is used as it comes."""

    file: File

    @property
    def names(self) -> list[str]:
        return [self.file.name]


class Split(Plain):
    """A split file: verified by content, against the sizes that its loader publishes."""


class Names(Plain):
    """classnames.txt: verified by content, and copied from imagenet/ where it is there."""


@dataclass(frozen=True)
class ImageNet:
    """images/train and images/val, from archives that the user has put into the folder."""

    train: File
    val: File
    devkit: File

    @property
    def names(self) -> list[str]:
        return ["images/train", "images/val"]


Step = Archive | Either | Plain | ImageNet


@dataclass(frozen=True)
class Source:
    """A data set: its folder below the root, and the steps that fill it."""

    folder: str
    steps: tuple[Step, ...]


def is_done(step: Step, folder: Path) -> bool:
    """Whether everything that a step brings is there."""
    return all((folder / name).exists() for name in step.names)
