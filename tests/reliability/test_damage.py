"""What has changed under a store, a record or a checkpoint is noticed and named."""

import contextlib
import errno
import io
import json
import os
import shutil

import pytest
import torch
from dassl.utils import load_checkpoint
from helpers import bundle_args, bundle_file, run_here
from PIL import Image

from ccli.clip.model import FrozenClip
from ccli.errors import CcliError, of_the_disk
from ccli.features.encoder import FeatureEncoder
from ccli.files.safe_load import check_archive
from ccli.files.sealed_json import check_seal, sealed
from ccli.results.records import find_records, is_done, read_record, write_record
from ccli.trainers.common.checkpoints import read_checkpoint, write_run


def flipped(content: bytes, bit: int) -> bytes:
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


@pytest.mark.parametrize("value", [{"a": 1}, {"a": "é\ud800", "b": [1.5, None], "tensors": "0" * 64}])
def test_every_bit_of_a_sealed_text(value):
    text = sealed(json.dumps(value, ensure_ascii=True))
    check_seal(text)
    found = json.loads(text)
    assert len(found.pop("digest")) == 64 and found == value
    for bit in range(8 * len(text)):
        with pytest.raises(ValueError):  # no character, no json, or another digest
            damaged = flipped(text.encode(), bit).decode()
            check_seal(damaged)
            json.loads(damaged)


@pytest.mark.parametrize("text", ["{}", '{"tensors": "' + "0" * 64 + '"}', "", "[]", "{"])
def test_a_text_that_was_never_sealed_passes(text):
    check_seal(text)


def test_every_byte_of_a_checkpoint_is_compared_or_not_read(tmp_path):
    archive, unread = io.BytesIO(), 0
    torch.save({"state_dict": {"weight": torch.arange(6.0)}, "epoch": 1}, archive)
    content = archive.getvalue()
    attributes = content.index(b"archive/data/0", content.index(b"PK\x01\x02")) - 8  # of the tensor: is it a folder?
    for bit in (8 * attributes + 4, *range(0, 8 * len(content), 11)):
        (tmp_path / "model.pth.tar-1").write_bytes(flipped(content, bit))
        try:
            state = read_checkpoint(tmp_path, 1)
        except CcliError as error:
            assert str(tmp_path / "model.pth.tar-1") in str(error)
        else:
            assert state["weight"].tolist() == [0, 1, 2, 3, 4, 5] and bit != 8 * attributes + 4
            unread += 1
        with contextlib.suppress(ValueError):
            assert load_checkpoint(str(tmp_path / "model.pth.tar-1"))["state_dict"]["weight"].tolist() == [
                0,
                1,
                2,
                3,
                4,
                5,
            ]
    assert unread < 0.6 * 8 * len(content) / 11  # a small archive is padding above all
    check_archive(b"no archive")


def test_a_record_of_before_is_read_and_a_disk_that_fails_is_no_missing_record(tmp_path, monkeypatch):
    run_here(*bundle_args(bundle_file(tmp_path), tmp_path / "run", trainer="ZeroshotCLIP"))
    record, path = read_record(tmp_path / "run"), tmp_path / "run/result.json"
    assert "digest" not in record
    path.write_text(json.dumps(record))
    assert read_record(path) == record
    write_record(tmp_path / "run", record)
    text = path.read_text()
    path.write_text(text.replace('"seed": 1', '"seed": 3'))
    with pytest.raises(CcliError, match=r"run/result.json is damaged \(its digest is .*delete it and repeat the run"):
        read_record(path)
    assert not is_done(tmp_path / "run")

    def lost(*_, **__):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr("pathlib.Path.read_text", lost)
    with pytest.raises(CcliError, match=r"run/result.json cannot be read \(Stale file handle\)"):
        is_done(tmp_path / "run")
    monkeypatch.setattr("os.scandir", lost)
    assert find_records(tmp_path)[1] and not find_records(tmp_path)[0]


def test_a_disks_errors_in_a_line():
    full = OSError(errno.ENOSPC, "No space left on device", "a/b")
    assert of_the_disk(full) == "a/b: No space left on device; make room, and the same command goes on"
    assert "see that the disk is well" in of_the_disk(OSError(errno.EIO, "Input/output error"))
    assert of_the_disk(FileNotFoundError(errno.ENOENT, "No such file")) == of_the_disk(ValueError("x")) == ""


def test_a_full_disk_in_a_write_names_the_file(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(CcliError, match=r"cannot write .*/run.json \(No space left on device\); make room") as error:
        write_run(tmp_path, [], [], {})
    assert error.value.__cause__.filename == str(tmp_path / "run.json") and os.listdir(tmp_path) == []


def test_weights_that_change_between_their_fingerprint_and_their_use(tiny_clip_folder, save_tiny_clip, tmp_path):
    clip = FrozenClip(str(shutil.copytree(tiny_clip_folder, tmp_path / "clip")))
    before = clip.facts.fingerprint
    save_tiny_clip(tmp_path / "clip", seed=1)
    with pytest.raises(CcliError, match=r"clip/open_clip_model.safetensors changed while it was read; start again"):
        _ = clip.model
    assert FrozenClip(str(tmp_path / "clip")).facts.fingerprint != before


@pytest.mark.parametrize("kind", ["benchmark", "own"])
def test_an_image_that_changes_while_it_is_encoded(tiny_clip_folder, image_folder, tmp_path, monkeypatch, kind):
    path, encode = image_folder / "wide.png", FrozenClip.encode_image
    root = image_folder if kind == "benchmark" else None
    store = FeatureEncoder(FrozenClip(str(tiny_clip_folder)), tmp_path / "store", root)
    opened = Image.open

    def changing(*args, **kwargs):
        picture = opened(*args, **kwargs)
        picture.load()
        os.utime(path, ns=(1, os.stat(path).st_mtime_ns + 1))
        return picture

    with monkeypatch.context() as patch, pytest.raises(CcliError, match=r"wide.png changed while it was encoded"):
        patch.setattr(Image, "open", changing)
        store.images([path])
    assert encode is FrozenClip.encode_image and len(store.images([path])) == 1
