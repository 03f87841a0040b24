"""The data sets that can be downloaded (sources.yaml), and the kinds of step that fill their folders."""

from pathlib import Path

import msgspec

from ccli.datasets.downloads.fetch import File


class Archive(msgspec.Struct, frozen=True, tag_field="kind", tag="archive"):
    """An archive and what it brings into the folder (see `archives.extract`); `inner` is an archive in it."""

    file: File
    brings: tuple[str, ...]
    rename: dict[str, str] = {}
    inner: str = ""

    @property
    def names(self) -> list[str]:
        """What is in the folder when it is done."""
        return [self.rename.get(name, name) for name in self.brings if "*" not in name]


class Either(msgspec.Struct, frozen=True, tag_field="kind", tag="either"):
    """Ways to the same content, in the order in which they are tried."""

    ways: tuple[tuple[Archive, ...], ...]

    @property
    def names(self) -> list[str]:
        return [name for step in self.ways[0] for name in step.names]


class Plain(msgspec.Struct, frozen=True, tag_field="kind", tag="plain"):
    """A file that is used as it comes."""

    file: File

    @property
    def names(self) -> list[str]:
        return [self.file.name]


class Split(Plain, frozen=True, tag="split"):
    """A split file: verified by content, against the sizes that its loader publishes."""


class Names(Plain, frozen=True, tag="names"):
    """classnames.txt: verified by content, and copied from imagenet/ where it is there."""


class ImageNet(msgspec.Struct, frozen=True, tag_field="kind", tag="imagenet"):
    """images/train and images/val, from archives that the user has put into the folder."""

    train: File
    val: File
    devkit: File

    @property
    def names(self) -> list[str]:
        return ["images/train", "images/val"]


Step = Archive | Either | Plain | Split | Names | ImageNet


class Source(msgspec.Struct, frozen=True):
    """A data set: its folder below the root, and the steps that fill it."""

    folder: str
    steps: tuple[Step, ...]


def is_done(step: Step, folder: Path) -> bool:
    """Whether everything that a step brings is there."""
    return all((folder / name).exists() for name in step.names)


SOURCES = msgspec.yaml.decode(Path(__file__).with_name("sources.yaml").read_bytes(), type=dict[str, Source])
