"""download.py and scripts/download.sh as a user calls them, on miniature archives that a local server has."""

import errno
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
from fork_server import python
from helpers import ROOT, call
from msgspec.structs import replace
from test_archives import make_tar, make_zip, tree
from test_downloads import Server
from trees import made_split

from ccli.datasets.common.few_shot import Sizes
from ccli.datasets.downloads import contents, fetch, install, sources
from ccli.datasets.downloads.sources import Either, ImageNet
from ccli.datasets.eurosat import EuroSAT

SYNSETS = [f"n{1440764 + 7 * k:08d}" for k in range(1000)]
NAMES = "".join(f"{synset} thing {k}\n" for k, synset in enumerate(SYNSETS)).encode()
OFFLINE = {name: "http://127.0.0.1:1" for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}
OFFLINE |= {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}  # nothing but our own server is ever asked


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("DATA", raising=False)
    monkeypatch.setattr(fetch, "RETRIES", 0)


@pytest.fixture(autouse=True)
def few_images(request, monkeypatch):
    """The miniatures have a few of the images that the lists name, and are complete all the same."""
    if "repair" not in request.node.name:
        monkeypatch.setattr(install, "incomplete", lambda name, folder: set())


@pytest.fixture
def server():
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def pack(tmp_path):
    """A function (maker, name, files) -> bytes of an archive."""

    def make(maker, files, **options) -> bytes:
        return maker(tmp_path / "packed", files=files, **options).read_bytes()

    return make


def main(*argv) -> str:
    """download.py in this process: what it printed. SystemExit passes through."""
    return call("download", *argv)


def split(module: str, name: str, change: int = 0) -> bytes:
    """A split file with the published sizes, and `change` more in the test part."""
    published = importlib.import_module(f"ccli.datasets.{module}").__dict__[name].published
    counts = {"train": published.train, "val": published.val, "test": published.test + change}
    return json.dumps(
        {
            part: [[f"{part}{k}.jpg", k % published.classes, f"class {k % published.classes}"] for k in range(count)]
            for part, count in counts.items()
        }
    ).encode()


def miniature(monkeypatch, server, name: str, **files: bytes) -> None:
    """Serve files, and put their checksums into the table."""
    server.files |= files

    def of(file):
        known = file.sums and file.name in server.files
        return replace(file, sums=(f"md5:{hashlib.md5(server.files[file.name]).hexdigest()}",) if known else file.sums)

    def step(step):
        if isinstance(step, Either):
            return replace(step, ways=tuple(tuple(map(step_of, way)) for way in step.ways))
        return step if isinstance(step, ImageNet) else replace(step, file=of(step.file))

    step_of = step
    source = sources.SOURCES[name]
    monkeypatch.setitem(sources.SOURCES, name, replace(source, steps=tuple(map(step, source.steps))))


def listing(folder: Path) -> list[str]:
    """Files below a folder, apart from the lock."""
    return sorted(k for k in tree(folder) if (folder / k).is_file() and not k.endswith(".lock"))


def install_twice(server, name: str, root: Path) -> str:
    """Install with the server as mirror; the second time nothing is asked for and everything is said to be there."""
    said = main(name, "--root", root, "--mirror", server.url)
    assert f"`python download.py {name} --root {root} --check`" in said.splitlines()[-1] and "in place" in said
    before, asked = tree(root), len(server.seen)
    again = main(name, "--root", root, "--mirror", server.url)
    assert all("is there; skipped" in line for line in again.splitlines()[:-1]) and "in place" in again
    assert tree(root) == before and len(server.seen) == asked
    return said


def test_dtd(monkeypatch, server, pack, tmp_path):
    files = {"dtd/images/banded/a.jpg": b"a", "dtd/imdb/imdb.mat": b"b", "dtd/labels/l.txt": b"c", "dtd/extra": b"d"}
    text = split("dtd", "DescribableTextures")
    split_name = "split_zhou_DescribableTextures.json"
    miniature(monkeypatch, server, "dtd", **{"dtd-r1.0.1.tar.gz": pack(make_tar, files), split_name: text})
    said = install_twice(server, "dtd", tmp_path / "data")
    assert "dtd-r1.0.1.tar.gz is deleted" in said
    assert listing(tmp_path / "data") == [
        "dtd/images/banded/a.jpg", "dtd/imdb/imdb.mat", "dtd/labels/l.txt", f"dtd/{split_name}",
    ]  # fmt: skip


def test_eurosat(monkeypatch, server, pack, tmp_path):
    archive = pack(make_zip, {"2750/River/River_1.jpg": b"a"})
    named = {"EuroSAT.zip": archive, "split_zhou_EuroSAT.json": split("eurosat", "EuroSAT")}
    miniature(monkeypatch, server, "eurosat", **named)
    install_twice(server, "eurosat", tmp_path)
    assert listing(tmp_path / "eurosat") == ["2750/River/River_1.jpg", "split_zhou_EuroSAT.json"]


def test_oxford_pets_goes_on_where_it_stopped(monkeypatch, server, pack, tmp_path):
    images = pack(make_tar, {"images/Abyssinian_1.jpg": os.urandom(1_500_000)})
    named = {
        "images.tar.gz": images,
        "annotations.tar.gz": pack(make_tar, {"./annotations/list.txt": b"b", "./annotations/._list.txt": b"mac"}),
        "split_zhou_OxfordPets.json": split("oxford_pets", "OxfordPets"),
    }
    miniature(monkeypatch, server, "oxford_pets", **named)
    server.cut = [1_200_000]
    with pytest.raises(SystemExit, match=r"^error: .*the connection broke; the same command resumes"):
        main("oxford_pets", "--root", tmp_path, "--mirror", server.url)
    assert not (tmp_path / "oxford_pets/images").exists()
    install_twice(server, "oxford_pets", tmp_path)
    assert ("images.tar.gz", "bytes=1048576-") in server.seen
    assert listing(tmp_path / "oxford_pets") == [
        "annotations/._list.txt", "annotations/list.txt", "images/Abyssinian_1.jpg", "split_zhou_OxfordPets.json",
    ]  # fmt: skip


def test_caltech101_has_an_archive_in_its_archive(monkeypatch, server, pack, tmp_path):
    inner = pack(make_tar, {"101_ObjectCategories/Faces/image_0001.jpg": b"a"})
    files = {
        "caltech-101/101_ObjectCategories.tar.gz": inner,
        "__MACOSX/caltech-101/._101_ObjectCategories.tar.gz": b"",
    }
    named = {"caltech-101.zip": pack(make_zip, files), "split_zhou_Caltech101.json": split("caltech101", "Caltech101")}
    miniature(monkeypatch, server, "caltech101", **named)
    install_twice(server, "caltech101", tmp_path)
    assert listing(tmp_path / "caltech-101") == [
        "101_ObjectCategories/Faces/image_0001.jpg", "split_zhou_Caltech101.json"
    ]  # fmt: skip


def test_aircraft_keeps_its_data_folder_alone(monkeypatch, server, pack, tmp_path):
    lists = ["variants.txt", *(f"images_variant_{part}.txt" for part in ("train", "val", "test")), "families.txt"]
    files = {f"fgvc-aircraft-2013b/data/{name}": b"x" for name in ["images/0001.jpg", *lists]}
    files |= {"fgvc-aircraft-2013b/README.md": b"x", "fgvc-aircraft-2013b/evaluation.m": b"x"}
    miniature(monkeypatch, server, "fgvc_aircraft", **{"fgvc-aircraft-2013b.tar.gz": pack(make_tar, files)})
    install_twice(server, "fgvc_aircraft", tmp_path)
    assert listing(tmp_path / "fgvc_aircraft") == sorted(["images/0001.jpg", *lists])


CAR_FILES = {
    "stanford_cars.zip": {"stanford_cars/cars_train/1.jpg": b"a", "stanford_cars/cars_test/2.jpg": b"b"},
    "cars_train.tgz": {"cars_train/1.jpg": b"a"},
    "cars_test.tgz": {"cars_test/2.jpg": b"b"},
    "car_devkit.tgz": {"devkit/cars_meta.mat": b"c"},
}


@pytest.mark.parametrize("way", [["stanford_cars.zip"], ["cars_train.tgz", "cars_test.tgz"]])
def test_stanford_cars_in_either_way(monkeypatch, server, pack, tmp_path, way):
    chosen = [*way, "car_devkit.tgz"]
    named = {name: pack(make_zip if name.endswith("zip") else make_tar, CAR_FILES[name]) for name in chosen}
    named |= {
        "cars_test_annos_withlabels.mat": b"MATLAB",
        "split_zhou_StanfordCars.json": split("stanford_cars", "StanfordCars"),
    }
    miniature(monkeypatch, server, "stanford_cars", **named)
    install_twice(server, "stanford_cars", tmp_path)
    assert listing(tmp_path / "stanford_cars") == [
        "cars_test/2.jpg", "cars_test_annos_withlabels.mat", "cars_train/1.jpg", "devkit/cars_meta.mat",
        "split_zhou_StanfordCars.json",
    ]  # fmt: skip


def test_archives_put_there_by_hand_are_used(monkeypatch, server, pack, tmp_path):
    named = {name: pack(make_tar, CAR_FILES[name]) for name in list(CAR_FILES)[1:]}
    named |= {
        "cars_test_annos_withlabels.mat": b"MATLAB",
        "split_zhou_StanfordCars.json": split("stanford_cars", "StanfordCars"),
    }
    miniature(monkeypatch, server, "stanford_cars", **named)
    (tmp_path / "stanford_cars").mkdir()
    for name, content in named.items():
        (tmp_path / "stanford_cars" / name).write_bytes(content)
    main("stanford_cars", "--root", tmp_path)
    assert not server.seen and (tmp_path / "stanford_cars/cars_test/2.jpg").is_file()


def test_a_plain_file_that_is_there_is_verified(tmp_path):
    (tmp_path / "oxford_flowers/jpg").mkdir(parents=True)
    labels = tmp_path / "oxford_flowers/imagelabels.mat"
    labels.write_bytes(b"MATLAB other")
    with pytest.raises(SystemExit, match=r"imagelabels\.mat is not the right file .*expected md5:e0620be6f572b960"):
        main("oxford_flowers", "--root", tmp_path)
    assert labels.read_bytes() == b"MATLAB other"  # it may be dear to somebody


def test_sketch_is_renamed_and_names_are_fetched(monkeypatch, server, pack, tmp_path):
    named = {"ImageNet-Sketch.zip": pack(make_zip, {f"sketch/{SYNSETS[0]}/a.JPEG": b"a"}), "classnames.txt": NAMES}
    miniature(monkeypatch, server, "imagenet_sketch", **named)
    install_twice(server, "imagenet_sketch", tmp_path)
    assert listing(tmp_path / "imagenet-sketch") == ["classnames.txt", f"images/{SYNSETS[0]}/a.JPEG"]


def test_names_are_copied_from_imagenet_where_they_are_there(monkeypatch, server, pack, tmp_path):
    miniature(
        monkeypatch, server, "imagenet_a", **{"imagenet-a.tar": pack(make_tar, {"imagenet-a/n1/a.jpg": b""}, mode="w")}
    )
    (tmp_path / "imagenet").mkdir()
    (tmp_path / "imagenet/classnames.txt").write_bytes(NAMES)
    install_twice(server, "imagenet_a", tmp_path)
    assert (tmp_path / "imagenet-adversarial/classnames.txt").read_bytes() == NAMES
    assert [name for name, _ in server.seen] == ["imagenet-a.tar"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (NAMES.replace(b"n01440764 ", b"n01440765 "), "not in order from n01440764"),
        (NAMES[:-20], "999 synsets|is not a line"),
        (NAMES + b"tench\n", "'tench' is not a line such as"),
        (NAMES.replace(SYNSETS[5].encode(), SYNSETS[4].encode()), "1000 lines with 999 synsets"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_other_class_names_are_refused(tmp_path, content, words):
    (tmp_path / "imagenet").mkdir()
    path = tmp_path / "imagenet/classnames.txt"
    (tmp_path / "imagenet/images/train").mkdir(parents=True)
    (tmp_path / "imagenet/images/val").mkdir()
    path.write_bytes(content)
    with pytest.raises(SystemExit, match=words) as caught:
        main("imagenet", "--root", tmp_path)
    assert f"{path} is not the right file" in str(caught.value) and path.read_bytes() == content
    path.write_bytes(NAMES)
    assert contents.names_problem(path) == ""


def test_a_split_of_other_sizes_is_refused(monkeypatch, server, pack, tmp_path):
    named = {"EuroSAT.zip": pack(make_zip, {"2750/a": b"a"}), "split_zhou_EuroSAT.json": split("eurosat", "EuroSAT", 1)}
    miniature(monkeypatch, server, "eurosat", **named)
    words = (
        "it has 10 classes and 13500 / 5400 / 8101 images .*; the published one has 10 classes and 13500 / 5400 / 8100"
    )
    with pytest.raises(SystemExit, match=words):
        main("eurosat", "--root", tmp_path, "--mirror", server.url)
    assert listing(tmp_path / "eurosat") == ["2750/a"]  # what was got stays


def test_a_half_extracted_archive_is_repaired(monkeypatch, server, pack, tmp_path):
    """What the lists name and the folder lacks is unpacked again; what is there stays as it is."""
    split = made_split("eurosat")
    pictures = {f"2750/{path}": b"%d" % k for k, (path, _, _) in enumerate(x for part in split.values() for x in part)}
    monkeypatch.setattr(EuroSAT, "published", Sizes(10, 30, 20, 10))
    named = {"EuroSAT.zip": pack(make_zip, pictures), "split_zhou_EuroSAT.json": json.dumps(split).encode()}
    miniature(monkeypatch, server, "eurosat", **named)
    install_twice(server, "eurosat", tmp_path)
    before = tree(tmp_path / "eurosat")
    shutil.rmtree(tmp_path / "eurosat/2750/Land3")
    kept = next((tmp_path / "eurosat/2750/Land4").iterdir())
    kept.write_bytes(b"mine")
    said = main("eurosat", "--root", tmp_path, "--mirror", server.url)
    assert "eurosat: files are missing in 2750; they are added from the archive" in said
    assert tree(tmp_path / "eurosat") == before | {str(kept.relative_to(tmp_path / "eurosat")): b"mine"}
    asked = len(server.seen)
    assert "2750 is there; skipped" in main("eurosat", "--root", tmp_path, "--mirror", server.url)
    assert len(server.seen) == asked


def test_an_empty_folder_is_repaired_in_the_first_call(monkeypatch, server, pack, tmp_path):
    """The list that says what is missing comes after the archive was skipped; links to other disks stay."""
    split = made_split("eurosat")
    pictures = {f"2750/{path}": b"x" for part in split.values() for path, _, _ in part}
    monkeypatch.setattr(EuroSAT, "published", Sizes(10, 30, 20, 10))
    named = {"EuroSAT.zip": pack(make_zip, pictures), "split_zhou_EuroSAT.json": json.dumps(split).encode()}
    miniature(monkeypatch, server, "eurosat", **named)
    (tmp_path / "eurosat").mkdir()
    elsewhere = tmp_path / "disk"
    elsewhere.mkdir()
    (tmp_path / "eurosat/2750").symlink_to(elsewhere)
    replace_file = os.replace

    def across(source, target):
        inside = [str(Path(path).resolve()).startswith(str(elsewhere)) for path in (source, target)]
        if inside[0] != inside[1]:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        replace_file(source, target)

    monkeypatch.setattr(os, "replace", across)
    main("eurosat", "--root", tmp_path, "--mirror", server.url)
    assert sum(path.is_file() for path in elsewhere.rglob("*")) == 60
    assert (tmp_path / "eurosat/split_zhou_EuroSAT.json").stat().st_mode & 0o077 == 0o077 & (0o666 & ~umask())


def test_an_archive_that_lacks_listed_images_is_no_success(monkeypatch, server, pack, tmp_path):
    split = made_split("eurosat")
    monkeypatch.setattr(EuroSAT, "published", Sizes(10, 30, 20, 10))
    named = {"EuroSAT.zip": pack(make_zip, {"2750/a": b""}), "split_zhou_EuroSAT.json": json.dumps(split).encode()}
    miniature(monkeypatch, server, "eurosat", **named)
    monkeypatch.setattr(install, "incomplete", contents.incomplete)
    with pytest.raises(SystemExit, match="images that the lists of eurosat name are missing in 2750 and not in its"):
        main("eurosat", "--root", tmp_path, "--mirror", server.url)


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_mirror_without_a_scheme(tmp_path):
    with pytest.raises(SystemExit, match="an address starts with http"):
        main("eurosat", "--root", tmp_path, "--mirror", "lab:8000/x")


def apart(*argv, cwd, **env) -> subprocess.CompletedProcess:
    environment = os.environ | OFFLINE | env
    return subprocess.run(argv, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def test_the_real_table_refuses_another_archive(server, pack, tmp_path):
    server.files["EuroSAT.zip"] = content = pack(make_zip, {"2750/a": b"a"})
    script = str(ROOT / "download.py")
    done = apart(python(), script, "eurosat", "--root", "data", "--mirror", server.url, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("download.py: error: cannot get EuroSAT.zip from ")
    assert "expected md5:c8fa014336c82ac7804f0398fcb19387" in done.stderr and "Traceback" not in done.stderr
    assert f"found md5:{hashlib.md5(content).hexdigest()}" in done.stderr and "By hand" in done.stderr
    assert listing(tmp_path / "data") == []


def test_all_goes_on_after_a_failure(monkeypatch, server, pack, tmp_path, capsys):
    named = {"EuroSAT.zip": pack(make_zip, {"2750/a": b"a"}), "split_zhou_EuroSAT.json": split("eurosat", "EuroSAT")}
    miniature(monkeypatch, server, "eurosat", **named)
    for name in set(sources.SOURCES) - {"imagenet", "eurosat", "imagenet_r"}:
        monkeypatch.delitem(sources.SOURCES, name)
    with pytest.raises(SystemExit, match=r"error: 2 of 3 data sets failed \(see above\): imagenet, imagenet_r"):
        main("all", "--root", tmp_path, "--mirror", server.url)
    assert (
        tmp_path / "eurosat/2750/a"
    ).is_file() and "imagenet_r: cannot get imagenet-r.tar" in capsys.readouterr().err


def test_names_that_are_none(tmp_path):
    with pytest.raises(SystemExit, match=r"error: unknown data set 'eurosatt'.* Did you mean 'eurosat'"):
        main("eurosatt", "--root", tmp_path)
    assert "drawn on first use" in main("concept_shapes_sketch", "--root", tmp_path) and listing(tmp_path) == []


def test_help_names_all_data_sets(tmp_path):
    text = apart(python(), str(ROOT / "download.py"), "--help", cwd=tmp_path).stdout
    assert all(name in text for name in sources.SOURCES) and "--mirror http://" in text


@pytest.mark.parametrize("problems", [[], ["a is missing", "b is missing"]])
def test_check_downloads_nothing(monkeypatch, tmp_path, problems):
    asked = []
    check = types.ModuleType("ccli.datasets.downloads.check")
    check.check_dataset = lambda name, root: asked.append((name, root)) or problems
    monkeypatch.setitem(sys.modules, check.__name__, check)
    monkeypatch.setenv("DATA", str(tmp_path))
    if problems:
        with pytest.raises(SystemExit, match=r"error: dtd: a is missing \(and 1 more, see above\)"):
            main("dtd", "--check")
    else:
        main("dtd", "--check")
    assert asked == [("dtd", tmp_path)] and listing(tmp_path) == []


def test_two_calls_come_one_after_another(monkeypatch, server, pack, tmp_path, capsys):
    named = {"EuroSAT.zip": pack(make_zip, {"2750/a": b"a"}), "split_zhou_EuroSAT.json": split("eurosat", "EuroSAT")}
    miniature(monkeypatch, server, "eurosat", **named)
    (tmp_path / "eurosat").mkdir()
    with open(tmp_path / "eurosat/.download.lock", "w") as lock:

        def say_and_release(*words, **options):
            print(*words, **options)
            fcntl.flock(lock, fcntl.LOCK_UN)

        fcntl.flock(lock, fcntl.LOCK_EX)
        monkeypatch.setattr("ccli.files.atomic.print", say_and_release, raising=False)  # it waits, and says so first
        main("eurosat", "--root", tmp_path, "--mirror", server.url)
    assert "another download into" in capsys.readouterr().err


def test_a_root_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match=r"error: cannot write to .*choose another --root"):
        main("dtd", "--root", tmp_path / "file")


def test_the_shell_script(server, tmp_path):
    script = str(ROOT / "scripts/download.sh")
    for argument, status in (("-h", 0), ("--help", 0)):
        done = apart("bash", script, argument, cwd=tmp_path)
        assert done.returncode == status and "Usage: bash scripts/download.sh DATASET" in done.stdout
    done = apart("bash", script, cwd=tmp_path)
    assert done.returncode == 2 and "Usage" in done.stderr
    done = apart("bash", script, "concept_shapes", cwd=tmp_path, PYTHON=python(), DATA="mine")
    assert done.returncode == 0 and f"into {tmp_path}/mine/concept_shapes" in done.stdout
    server.files["EuroSAT.zip"] = b"<html>"
    done = apart(
        "bash", script, "eurosat", "concept_shapes", cwd=tmp_path, PYTHON=python(), DATA="mine", MIRROR=server.url
    )
    assert done.returncode == 1 and "it is a web page" in done.stderr and "drawn on first use" in done.stdout
    assert listing(tmp_path) == [] and (tmp_path / "mine/eurosat").is_dir()
