"""Download and lay out one data set as CoOp does; existing parts are skipped."""

import shlex
import shutil
from pathlib import Path

import filelock
from msgspec.structs import replace

from ccli.datasets.downloads.archives import extract
from ccli.datasets.downloads.contents import incomplete, names_problem, split_problem, synsets_in
from ccli.datasets.downloads.fetch import disk_errors, fetch
from ccli.datasets.downloads.imagenet import lay_out
from ccli.datasets.downloads.sources import (
    SOURCES,
    Archive,
    Either,
    ImageNet,
    Names,
    Plain,
    Source,
    Split,
    Step,
    is_done,
)
from ccli.errors import CcliError, nearest
from ccli.files.atomic import acquire


def source_of(name: str) -> Source:
    """The source of a data set.

    Raises:
        CcliError: no data set has that name.
    """
    if name not in SOURCES:
        raise CcliError(f"unknown data set {name!r}; there are {', '.join(SOURCES)}.{nearest(name, SOURCES)}")
    return SOURCES[name]


def install(name: str, root: Path, mirror: str = "") -> None:
    """Download and lay out the missing parts of a data set below `root`, and say so.

    Args:
        mirror: a base URL below which files lie by their names; tried first.

    Raises:
        CcliError: a part could not be installed; the other parts are kept.
    """
    source = source_of(name)
    folder = root.expanduser().absolute() / source.folder
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / ".download.lock")
        with acquire(lock, f"another download into {folder} is running; waiting for it"):
            skipped = [step for step in source.steps if not _do(step, folder, name, mirror)]
            for step in skipped if incomplete(name, folder) else ():  # a list of images was downloaded since
                _do(step, folder, name, mirror)
            missing = incomplete(name, folder)
    check = f"`python download.py {name} --root {shlex.quote(str(root))} --check`"
    if missing:
        raise CcliError(
            f"images that the lists of {name} name are missing in {', '.join(sorted(missing))} and not in its archive; "
            f"{check} lists them"
        )
    names = [name for step in source.steps for name in step.names]
    print(f"{name}: {', '.join(names)} in place in {folder}; {check} counts")


def _do(step: Step, folder: Path, name: str, mirror: str) -> bool:
    """Do a step unless it is done; whether there was something to do."""
    if not isinstance(step, Plain) and is_done(step, folder):  # plain files are verified each time
        missing = incomplete(name, folder) & {Path(top).parts[0] for top in step.names}
        if not missing:
            print(f"{name}: {', '.join(step.names)} is there; skipped")
            return False
        print(f"{name}: files are missing in {', '.join(sorted(missing))}; they are added from the archive")
    match step:
        case Archive():
            _archive(step, folder, mirror)
        case Either():
            _either(step, folder, name, mirror)
        case ImageNet():
            lay_out(step, folder, synsets_in(folder))
        case Plain():
            _plain(step, folder, name, mirror)
    return True


def _plain(step: Plain, folder: Path, name: str, mirror: str) -> None:
    path = folder / step.file.name
    there = path.exists()
    if isinstance(step, Split):
        fetch(step.file, folder, mirror, lambda path: split_problem(path, name))
    elif isinstance(step, Names):
        copy = folder.parent / SOURCES["imagenet"].folder / step.file.name
        if not there and copy.is_file() and not names_problem(copy):
            shutil.copyfile(copy, path)
        fetch(step.file, folder, mirror, names_problem)
    else:
        fetch(step.file, folder, mirror)
    print(f"{name}: {path.name} is {'there; skipped' if there else 'in place'}")


def _archive(step: Archive, folder: Path, mirror: str) -> None:
    """Fetch, unpack, delete the archive."""
    inner = folder / step.inner
    if not step.inner or not inner.is_file():
        brings = (step.inner,) if step.inner else step.brings
        _unpack(fetch(step.file, folder, mirror), folder, brings, step.rename)
    if step.inner:
        _unpack(inner, folder, step.brings, step.rename)


def _unpack(archive: Path, folder: Path, brings: tuple[str, ...], rename: dict[str, str]) -> None:
    new = extract(archive, folder, brings, rename)
    archive.unlink()
    what = ", ".join(sorted(new)[:6]) + (", ..." if len(new) > 6 else "")
    print(f"{what} unpacked into {folder}; {archive.name} is deleted")


def _either(step: Either, folder: Path, name: str, mirror: str) -> None:
    """Take the first way that works: ways with an archive in the folder, then the mirror, then the addresses."""

    def has(way: tuple[Archive, ...]) -> bool:
        return any((folder / archive.file.name).is_file() for archive in way)

    ways = sorted(step.ways, key=lambda way: not has(way))
    failures = []
    for way, only in [(way, True) for way in ways] * bool(mirror) + [(way, False) for way in ways]:
        try:
            for archive in way:
                if not is_done(archive, folder) or incomplete(name, folder) & set(archive.names):
                    file = replace(archive.file, urls=()) if only else archive.file
                    _archive(replace(archive, file=file), folder, mirror if only else "")
            return
        except CcliError as error:
            failures.append(str(error))
    raise CcliError("; or ".join(failures))
