"""ImageNet, laid out by download.py from the three archives that a user has put into its folder."""

import hashlib
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from scipy.io import savemat
from test_archives import make_tar
from test_download_script import NAMES, SYNSETS, few_images, listing, main, offline, pack  # noqa: F401

from ccli.datasets.downloads import imagenet, sources
from ccli.datasets.downloads.sources import ImageNet

ARCHIVES, CLASSNAMES = sources.SOURCES["imagenet"].steps


def devkit(path: Path) -> None:
    """ImageNet's: synsets 1 to 3 are classes, the fourth is a parent of some; pictures of 2, 1, 3, 2."""
    rows = [(k + 1, SYNSETS[k], "words", "gloss", children) for k, children in enumerate([0, 0, 0, 2])]
    kinds = [(name, object) for name in ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children")]
    meta = io.BytesIO()
    savemat(meta, {"synsets": np.array(rows, dtype=kinds).reshape(-1, 1)})
    data = "ILSVRC2012_devkit_t12/data"
    make_tar(
        path,
        files={f"{data}/ILSVRC2012_validation_ground_truth.txt": b"2\n1\n3\n2\n", f"{data}/meta.mat": meta.getvalue()},
    )


@pytest.fixture
def by_hand(monkeypatch, tmp_path, pack) -> Path:  # noqa: F811
    """DATA with ImageNet's three archives, in miniature."""
    folder = tmp_path / "data/imagenet"
    folder.mkdir(parents=True)
    inner = {f"{s}.tar": pack(make_tar, {f"{s}_{k}.JPEG": s.encode() for k in range(2)}, mode="w") for s in SYNSETS[:3]}
    step = ARCHIVES
    make_tar(folder / step.train.name, files=inner, mode="w")
    make_tar(folder / step.val.name, files={f"ILSVRC2012_val_{k:08d}.JPEG": b"%d" % k for k in (3, 1, 2, 4)}, mode="w")
    devkit(folder / step.devkit.name)
    (folder / "classnames.txt").write_bytes(NAMES)

    def real(file):
        return replace(file, sums=(f"md5:{hashlib.md5((folder / file.name).read_bytes()).hexdigest()}",))

    small = ImageNet(*map(real, (step.train, step.val, step.devkit)))
    monkeypatch.setitem(sources.SOURCES, "imagenet", replace(sources.SOURCES["imagenet"], steps=(small, CLASSNAMES)))
    return tmp_path / "data"


def laid_out(root: Path) -> list[str]:
    return [name.removeprefix("imagenet/images/") for name in listing(root) if "images" in name]


def test_imagenet_is_laid_out_from_the_users_archives(by_hand):
    main("imagenet", "--root", by_hand)
    expected = [f"train/{s}/{s}_{k}.JPEG" for s in SYNSETS[:3] for k in range(2)]
    of = {1: 1, 2: 0, 3: 2, 4: 1}
    expected += sorted(f"val/{SYNSETS[row]}/ILSVRC2012_val_{k:08d}.JPEG" for k, row in of.items())
    assert laid_out(by_hand) == sorted(expected)
    assert (by_hand / "imagenet" / ARCHIVES.train.name).is_file()  # kept: hard to get again
    assert "images/train, images/val is there; skipped" in main("imagenet", "--root", by_hand)


def test_imagenet_goes_on_after_the_synsets_that_are_done(by_hand, monkeypatch):
    write, written = imagenet.write, []

    def counting(*args):
        written.append(args[1].parts[0])
        if len(written) == 4:
            raise OSError(28, "No space left on device")
        write(*args)

    monkeypatch.setattr(imagenet, "write", counting)
    with pytest.raises(SystemExit, match=r"no space left in .*the same command, which resumes"):
        main("imagenet", "--root", by_hand)
    assert not (by_hand / "imagenet/images/train").exists()
    main("imagenet", "--root", by_hand)
    assert written[4:10] == [f"{s}_{k}.JPEG" for s in SYNSETS[1:3] for k in range(2)] + written[8:10]
    assert len(laid_out(by_hand)) == 10


def test_imagenet_repairs_a_class_folder_and_a_picture(by_hand):
    with pytest.raises(SystemExit, match="are missing in images and not in its archive"):  # which have 3 of 1000
        main("imagenet", "--root", by_hand)
    before = laid_out(by_hand)
    shutil.rmtree(by_hand / "imagenet/images/train" / SYNSETS[1])
    shutil.rmtree(by_hand / "imagenet/images/val" / SYNSETS[0])
    mine = by_hand / "imagenet/images/train" / SYNSETS[0] / f"{SYNSETS[0]}_0.JPEG"
    mine.write_bytes(b"mine")
    with pytest.raises(SystemExit):
        main("imagenet", "--root", by_hand)
    assert laid_out(by_hand) == before and mine.read_bytes() == b"mine"


def test_imagenet_says_what_to_do_by_hand(tmp_path):
    with pytest.raises(SystemExit, match="without an account") as caught:
        main("imagenet", "--root", tmp_path)
    text = str(caught.value)
    assert "ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar, ILSVRC2012_devkit_t12.tar.gz" in text
    assert str(tmp_path / "imagenet") in text and len(text.splitlines()) == 1


def test_a_wrong_archive_of_imagenet_is_named_and_kept(by_hand, monkeypatch):
    real = replace(sources.SOURCES["imagenet"], steps=(ARCHIVES,))
    monkeypatch.setitem(sources.SOURCES, "imagenet", real)
    for synset in SYNSETS:
        (by_hand / "imagenet/images/train" / synset).mkdir(parents=True)
    with pytest.raises(SystemExit, match="wrong checksum: expected md5:29b22e2961454d5413ddabcf34fc5622, found md5:"):
        main("imagenet", "--root", by_hand)
    assert (by_hand / "imagenet" / ARCHIVES.val.name).is_file()


def test_a_hostile_tar_within_imagenets_is_refused(by_hand, pack, monkeypatch):  # noqa: F811
    path = by_hand / "imagenet" / ARCHIVES.train.name
    make_tar(path, files={f"{SYNSETS[0]}.tar": pack(make_tar, {"../evil": b""}, mode="w")}, mode="w")
    monkeypatch.setattr(imagenet, "what_is_wrong", lambda path, file: "")
    with pytest.raises(SystemExit, match=r"is refused, nothing of it is unpacked: '../evil' in it leads out"):
        main("imagenet", "--root", by_hand)
    assert laid_out(by_hand) == []
