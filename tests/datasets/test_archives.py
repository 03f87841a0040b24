"""Unpacking hostile, damaged and huge archives, and being killed while at it."""

import gzip
import io
import os
import signal
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from ccli.datasets.downloads import archives, members
from ccli.datasets.downloads.archives import extract
from ccli.errors import CcliError

GOOD = {"top/images/a.jpg": b"a" * 700, "top/images/deep/b.jpg": b"b", "top/list.txt": b"c", "top/other/x": b"d"}


def tar_entry(name, kind=tarfile.REGTYPE, target="", content=b"x"):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.size = kind, target, len(content) if kind == tarfile.REGTYPE else 0
    return entry, content


def long_name(name):
    entry, content = tar_entry("top/long")
    entry.pax_headers = {"path": name}
    return entry, content


def make_tar(path: Path, *extra, mode="w:gz", files=GOOD) -> Path:
    with tarfile.open(path, mode, format=tarfile.PAX_FORMAT) as tar:
        for entry, content in [tar_entry(name, content=content) for name, content in files.items()] + list(extra):
            tar.addfile(entry, io.BytesIO(content) if entry.isfile() else None)
    return path


def make_zip(path: Path, *extra, files=GOOD) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in [*files.items(), *extra]:
            file.writestr(name, content)
    return path


def zip_entry(name, mode=stat.S_IFREG, content=b"x"):
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (mode | 0o644) << 16
    return entry, content


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}


@pytest.mark.parametrize("make", [make_tar, make_zip])
@pytest.mark.parametrize("there", [False, True])
def test_what_is_wanted_is_unpacked_and_what_is_there_is_left_alone(tmp_path, make, there):
    archive, into = make(tmp_path / "archive"), tmp_path / "set"
    if there:
        (into / "images").mkdir(parents=True)
        (into / "images/mine").write_text("mine")
        (into / "images/a.jpg").write_text("mine, too")
    new = extract(archive, into, ("images", "*.txt"))
    expected = {
        "list.txt": b"c",
        "images": b"",
        "images/deep": b"",
        "images/a.jpg": b"a" * 700,
        "images/deep/b.jpg": b"b",
    }
    if there:
        expected |= {"images/mine": b"mine", "images/a.jpg": b"mine, too"}
    assert tree(into) == expected and set(new) == {"list.txt", "images"}
    assert extract(archive, into, ("images", "*.txt")) == [] and tree(into) == expected


def test_a_folder_is_renamed_and_a_bare_dot_is_no_folder(tmp_path):
    archive = make_tar(tmp_path / "a.tar", mode="w", files={"./sketch/n1/a.jpg": b"a"})
    assert extract(archive, tmp_path / "set", ("sketch",), {"sketch": "images"}) == ["images"]
    assert (tmp_path / "set/images/n1/a.jpg").read_bytes() == b"a"


HOSTILE_TARS = {
    "parent": [tar_entry("top/../../evil")],
    "parent alone": [tar_entry("../evil")],
    "absolute": [tar_entry("/tmp/evil")],
    "drive": [tar_entry("C:/evil")],
    "backslash": [tar_entry("top\\..\\evil")],
    "nul": [long_name("top/a\0b")],
    "parent in a pax header": [long_name("top/../../evil")],
    "symlink out": [tar_entry("top/images/link", tarfile.SYMTYPE, "../../../outside")],
    "symlink absolute": [tar_entry("top/images/link", tarfile.SYMTYPE, "/etc/passwd")],
    "symlink chain": [
        tar_entry("top/images/l", tarfile.SYMTYPE, "."),
        tar_entry("top/images/l/m", tarfile.SYMTYPE, ".."),
        tar_entry("top/images/l/m/evil"),
    ],
    "symlink inside": [tar_entry("top/images/link", tarfile.SYMTYPE, "a.jpg")],
    "hardlink out": [tar_entry("top/images/link", tarfile.LNKTYPE, "../outside")],
    "character device": [tar_entry("top/images/null", tarfile.CHRTYPE)],
    "block device": [tar_entry("top/images/disk", tarfile.BLKTYPE)],
    "fifo": [tar_entry("top/images/pipe", tarfile.FIFOTYPE)],
}
HOSTILE_ZIPS = {
    "parent": [zip_entry("top/../../evil")],
    "absolute": [zip_entry("/tmp/evil")],
    "backslash": [zip_entry("..\\evil")],
    "drive": [zip_entry("C:/evil")],
    "symlink": [zip_entry("top/images/link", stat.S_IFLNK, b"../../../outside")],
    "device": [zip_entry("top/images/null", stat.S_IFCHR)],
    "fifo": [zip_entry("top/images/pipe", stat.S_IFIFO)],
}


@pytest.mark.parametrize("kind", [*(f"tar {k}" for k in HOSTILE_TARS), *(f"zip {k}" for k in HOSTILE_ZIPS)])
def test_a_hostile_archive_is_refused_and_nothing_is_written(tmp_path, kind):
    (tmp_path / "outside").write_text("untouched")
    (tmp_path / "root/set").mkdir(parents=True)
    (tmp_path / "root/set/mine").write_text("mine")
    form, _, which = kind.partition(" ")
    archive = tmp_path / "root/set/archive"
    make_tar(archive, *HOSTILE_TARS[which]) if form == "tar" else make_zip(archive, *HOSTILE_ZIPS[which])
    before = tree(tmp_path)
    with pytest.raises(CcliError, match="refused, nothing of it is unpacked") as caught:
        extract(archive, tmp_path / "root/set", ("images",))
    assert str(archive) in str(caught.value) and len(str(caught.value).splitlines()) == 1
    assert tree(tmp_path) == before and not Path("/tmp/evil").exists()


def patched_zip(path: Path, change) -> Path:
    content = bytearray(make_zip(path).read_bytes())
    change(content)
    path.write_bytes(content)
    return path


def encrypt(content: bytearray):
    at = -1
    while (at := content.find(b"PK\x01\x02", at + 1)) >= 0:
        content[at + 8] |= 1


def name_with_nul(content: bytearray):
    content[:] = content.replace(b"top/images/a.jpg", b"top/images/a\0jpg")


@pytest.mark.parametrize("change", [encrypt, name_with_nul])
def test_an_encrypted_zip_or_a_nul_in_a_name_is_refused(tmp_path, change):
    archive = patched_zip(tmp_path / "a.zip", change)
    with pytest.raises(CcliError, match="encrypted" if change is encrypt else "NUL"):
        extract(archive, tmp_path / "set", ("images",))
    assert not (tmp_path / "set").exists()


def test_a_bomb_is_refused_before_it_goes_off(tmp_path):
    entry = tarfile.TarInfo("top/images/zeros")
    entry.size = 70 << 24
    block = gzip.compress(bytes(1 << 24), 1)  # gzip files may follow one another
    bomb = tmp_path / "bomb.tar.gz"
    bomb.write_bytes(gzip.compress(entry.tobuf()) + block * 70 + gzip.compress(bytes(1024)))
    began = time.process_time()  # whatever else the machine does
    with pytest.raises(CcliError, match=r"unpacks to more than 1.07 GB: no data set does"):
        extract(bomb, tmp_path / "set", ("images",))
    assert time.process_time() - began < 1 and not (tmp_path / "set").exists()


def test_an_archive_larger_than_the_disk_is_refused_with_both_sizes(tmp_path, monkeypatch):
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 700}))
    with pytest.raises(CcliError, match=r"unpacks to 701 bytes and .*set has 700 bytes left; free some"):
        extract(make_zip(tmp_path / "a.zip"), tmp_path / "set", ("images",))
    assert tree(tmp_path / "set") == {}


def damaged(tmp_path, form: str, cut: int) -> Path:
    files = {f"top/images/{k}.jpg": os.urandom(5000) for k in range(20)}
    if form == "zip":
        archive = make_zip(tmp_path / "a", files=files)
    else:
        archive = make_tar(tmp_path / "a", mode=form, files=files)
    os.truncate(archive, archive.stat().st_size * cut // 100)
    return archive


@pytest.mark.parametrize("form", ["w:gz", "w", "w:xz", "zip"])
@pytest.mark.parametrize("cut", [1, 50, 90])
def test_a_truncated_archive_leaves_nothing(tmp_path, form, cut):
    archive = damaged(tmp_path, form, cut)
    with pytest.raises(CcliError, match=r"is damaged .*: delete it and run again") as caught:
        extract(archive, tmp_path / "set", ("images",))
    assert str(archive) in str(caught.value) and len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "set").exists()


def test_a_tar_cut_between_two_files_is_noticed(tmp_path):
    archive = make_tar(tmp_path / "a.tar", mode="w")
    with tarfile.open(archive) as tar:
        end = tar.getmembers()[2].offset
    os.truncate(archive, end)
    with pytest.raises(CcliError, match="it ends too early"):
        extract(archive, tmp_path / "set", ("images",))


def test_a_flipped_bit_in_a_zip_is_noticed_and_the_scratch_is_removed(tmp_path):
    archive = patched_zip(tmp_path / "a.zip", lambda content: content.__setitem__(200, content[200] ^ 1))
    with pytest.raises(CcliError, match=r"is damaged.*CRC"):
        extract(archive, tmp_path / "set", ("images",))
    assert tree(tmp_path / "set") == {}


def test_another_archive_is_named(tmp_path):
    with pytest.raises(CcliError, match=r"a\.zip holds no '2750': it is not the expected archive"):
        extract(make_zip(tmp_path / "a.zip"), tmp_path / "set", ("2750",))


def test_a_full_disk_removes_the_scratch(tmp_path, monkeypatch):
    def write(content, member, below):
        below.mkdir(parents=True, exist_ok=True)
        (below / "half").write_text("")
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(archives, "write", write)
    with pytest.raises(CcliError, match=r"no space left in .*set.*free some and run the same command"):
        extract(make_zip(tmp_path / "a.zip"), tmp_path / "set", ("images",))
    assert tree(tmp_path / "set") == {}


WORKER = """
import sys, time
from pathlib import Path
from ccli.datasets.downloads import archives
write, done = archives.write, []

def hanging(*args):
    write(*args)
    done.append(1)
    if len(done) == 2:
        print("two", flush=True)
        time.sleep(600)

archives.write = hanging
archives.extract(Path(sys.argv[1]), Path(sys.argv[2]), ("images",))
"""


def test_a_kill_leaves_nothing_under_the_name_and_the_next_call_completes(tmp_path):
    files = {f"top/images/{k}.jpg": bytes([k]) * 100 for k in range(5)}
    archive, into = make_tar(tmp_path / "a.tgz", files=files), tmp_path / "set"
    command = [sys.executable, "-c", WORKER, str(archive), str(into)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "two\n"
        process.send_signal(signal.SIGKILL)
    assert not (into / "images").exists() and len(list((into / ".a.tgz.part/images").iterdir())) == 2
    (into / ".a.tgz.part/images/stray.jpg").write_text("of another archive")
    assert extract(archive, into, ("images",)) == ["images"]
    assert sorted(tree(into)) == ["images", *(f"images/{k}.jpg" for k in range(5))]


def test_the_limits_are_those_of_the_documentation():
    assert (members.BOMB_RATIO, members.BOMB_SIZE) == (200, 1 << 30)
