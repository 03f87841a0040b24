"""ImageNet's images/train and images/val, unpacked from the three archives that users download themselves."""

import os
import re
import shutil
import tarfile
from io import BytesIO
from pathlib import Path

from ccli.datasets.downloads.archives import move, unpacked, write
from ccli.datasets.downloads.fetch import disk_errors, in_words, require_room, what_is_wrong
from ccli.datasets.downloads.members import Member, harmless, listed, opened
from ccli.datasets.downloads.sources import ImageNet
from ccli.errors import CcliError, in_one_line


def lay_out(step: ImageNet, folder: Path, synsets: set[str]) -> None:
    """Fill images/train and images/val, if they are absent or lack folders of `synsets`.

    The archives are kept: they are hard to get again.

    Raises:
        CcliError: an archive is absent (the message says what to do by hand), wrong or damaged, or the disk is too
            small.
    """
    train, val = folder / "images" / "train", folder / "images" / "val"
    lacks = {part: not part.exists() or not synsets <= set(os.listdir(part)) for part in (train, val)}
    needed = [step.train] * lacks[train] + [step.val, step.devkit] * lacks[val]
    absent = [file.name for file in needed if not (folder / file.name).is_file()]
    if absent:
        raise CcliError(
            f"ImageNet cannot be downloaded without an account: download {', '.join(absent)} from "
            f"https://image-net.org/download-images (ILSVRC2012), put them into {folder}, run the same command; or "
            f"link folders that you have to {train} and {val} (a folder of pictures per synset)"
        )
    for file in needed:
        if wrong := what_is_wrong(folder / file.name, file):
            raise CcliError(f"{folder / file.name}: {wrong}; download it again")
    with disk_errors(folder):
        if lacks[train]:
            _lay_out_train(folder / step.train.name, train)
        if lacks[val]:
            _lay_out_val(folder / step.val.name, folder / step.devkit.name, val)


def _require_room(archive: Path, into: Path, done: int = 0) -> None:
    needed = archive.stat().st_size - done
    require_room(into, needed, f"{archive} unpacks to {in_words(needed)}")


def _lay_out_train(archive: Path, train: Path) -> None:
    """A tar with one tar per synset. Synsets that a killed call has finished are kept in a scratch folder."""
    scratch = train.with_name(".train.part")
    outer, inner = listed(archive), {}
    for member in outer:
        if len(member.parts) != 1 or not re.fullmatch(r"n\d{8}\.tar", member.parts[0]):
            raise CcliError(f"{archive} holds {'/'.join(member.parts)!r}, not one tar per synset; download it again")
    with opened(archive, "Reading") as content:
        for member in outer:
            with _within(content, member) as pictures:
                name = member.parts[0]
                inner[name.removesuffix(".tar")] = list(harmless(pictures, f"{archive} ({name})"))
    there = [name for name in inner if (scratch / name).is_dir() or (train / name).is_dir()]
    _require_room(archive, scratch, done=sum(m.size for name in there for m in inner[name]))
    with opened(archive, "Unpacking") as content:
        for member in outer:
            synset = member.parts[0].removesuffix(".tar")
            if synset in there:
                continue
            part = scratch / f".{synset}.part"
            shutil.rmtree(part, ignore_errors=True)
            with _within(content, member) as pictures:
                for picture in inner[synset]:
                    write(pictures, picture, part)
            os.replace(part, scratch / synset)
    move(scratch, train)
    shutil.rmtree(scratch, ignore_errors=True)


def _within(content: tarfile.TarFile, member: Member) -> tarfile.TarFile:
    return tarfile.open(fileobj=content.extractfile(member.entry), mode="r:")


def _lay_out_val(archive: Path, devkit: Path, val: Path) -> None:
    """A flat tar; line k of the development kit's list is the class of image k."""
    synsets = _val_synsets(devkit)
    members = []
    for member in listed(archive):
        number = re.fullmatch(r"ILSVRC2012_val_(\d{8})\.JPEG", member.parts[-1])
        if not number or not 1 <= int(number[1]) <= len(synsets):
            raise CcliError(f"{archive} holds {member.parts[-1]!r}, which {devkit} does not list; download both again")
        parts = (synsets[int(number[1]) - 1], member.parts[-1])
        if not val.joinpath(*parts).exists():
            members.append(member._replace(parts=parts))
    _require_room(archive, val.parent)
    with unpacked(archive, members, val.with_name(".val.part")) as scratch:
        move(scratch, val)


def _val_synsets(devkit: Path) -> list[str]:
    """The synset of each validation image, in order."""
    from scipy.io import loadmat

    members = {m.parts[-1]: m for m in listed(devkit)}
    what = f"{devkit} is not ImageNet's development kit"
    with in_one_line((KeyError, ValueError, TypeError), what, "download it again"):
        with opened(devkit, "Reading") as content:
            truth = content.extractfile(members["ILSVRC2012_validation_ground_truth.txt"].entry).read().split()
            meta = loadmat(BytesIO(content.extractfile(members["meta.mat"].entry).read()), squeeze_me=True)["synsets"]
        of = {int(number): str(synset) for number, synset in zip(meta["ILSVRC2012_ID"], meta["WNID"])}
        return [of[int(number)] for number in truth]
