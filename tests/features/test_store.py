"""The store of rows: shared by processes, killed, damaged, attacked, out of space."""

import errno
import hashlib
import os
import pickle
import signal
import subprocess
import time
import warnings
from pathlib import Path

import pytest
import torch
from fork_server import python

from ccli.errors import CcliError
from ccli.features.encoder import FeatureEncoder
from ccli.features.row_store import RowStore

# Encodes a folder of images; logs each batch. `hang` is "encoding" or "moving": stops for ever at the third block; or
# "meeting": encodes slowly, and once two workers have begun.
WORKER = """
import glob, hashlib, os, sys, time
from pathlib import Path
import torch
from ccli.clip.model import FrozenClip
from ccli.features.encoder import FeatureEncoder

clip, images, store, log, hang = sys.argv[1:]
torch.set_num_threads(1)
encode, replace, moved, begun = FrozenClip.encode_image, os.replace, [], []

def slow_encode(self, batch):
    with open(log, "a") as file:
        file.write(f"{len(torch.unique(batch, dim=0))}\\n")
    begun.append(batch)
    while hang == "encoding" and len(begun) > 2 or hang == "meeting" and len(glob.glob(log + ".*")) < 2:
        time.sleep(0.01)
    if hang == "meeting":
        time.sleep(0.5)
    return encode(self, batch)

def replace_two(source, target):
    if str(target).endswith(".safetensors"):
        moved.append(target)
        while hang == "moving" and len(moved) > 2:
            time.sleep(1)
    replace(source, target)

FrozenClip.encode_image, os.replace = slow_encode, replace_two
features = FeatureEncoder(FrozenClip(clip), store, images)
print(os.getpid(), flush=True)
sys.stdin.readline()
Path(f"{log}.{os.getpid()}").touch()
print(hashlib.sha256(features.images(sorted(Path(images).iterdir())).numpy().tobytes()).hexdigest())
"""


def start(clip, images, store, log, hang):
    arguments = [python(), "-c", WORKER, clip, images, store, log, hang]
    return subprocess.Popen(
        list(map(str, arguments)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def blocks(root: Path) -> list[Path]:
    return sorted(root.glob("*/*.safetensors"))


def partials(root: Path) -> list[Path]:
    return sorted(root.rglob("*.part"))


def wait_until(condition, process, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)


def test_two_processes_encode_each_image_once_and_agree(tiny_clip, tiny_clip_folder, many_images, tmp_path):
    store, log, images = tmp_path / "store", tmp_path / "log", many_images[0].parent
    both = [start(tiny_clip_folder, images, store, log, "meeting") for _ in range(2)]
    for process in both:
        assert process.stdout.readline().strip().isdigit()  # it is ready
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    out, said = zip(*(process.communicate(timeout=300) for process in both))
    assert [process.returncode for process in both] == [0, 0]
    assert "waiting for it" in said[0] + said[1]  # the two did meet
    digests = {text.splitlines()[-1] for text in out}
    alone = FeatureEncoder(tiny_clip, tmp_path / "alone", images).images(many_images)
    assert digests == {hashlib.sha256(alone.numpy().tobytes()).hexdigest()}
    assert sum(map(int, log.read_text().split())) == 150
    assert len(blocks(store)) == 3 and not partials(store)


@pytest.mark.parametrize("moment", ["encoding", "moving"])
def test_a_kill_loses_the_batch_in_flight_alone(tiny_clip, tiny_clip_folder, many_images, tmp_path, encoded, moment):
    store, log, images = tmp_path / "store", tmp_path / "log", many_images[0].parent
    with start(tiny_clip_folder, images, store, log, moment) as process:
        worker = int(process.stdout.readline())
        process.stdin.write("go\n")
        process.stdin.flush()
        if moment == "moving":  # two blocks are there, the third is written beside
            wait_until(
                lambda: len(blocks(store)) == 2 and any(p.stat().st_size > 1000 for p in partials(store)), process
            )
        else:  # the third batch is being encoded
            wait_until(lambda: log.exists() and len(log.read_text().split()) == 3 and len(blocks(store)) == 2, process)
        os.kill(worker, signal.SIGKILL)
    assert len(blocks(store)) == 2
    assert len(partials(store)) == (moment == "moving")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = FeatureEncoder(tiny_clip, store, images).images(many_images)
    assert encoded == [150 - 2 * 64]
    assert torch.equal(rows, FeatureEncoder(tiny_clip, tmp_path / "undisturbed", images).images(many_images))


def flip_a_bit(first: Path, _second: Path):
    content = bytearray(first.read_bytes())
    content[-100] ^= 4
    first.write_bytes(content)


def truncate(first: Path, _second: Path):
    os.truncate(first, first.stat().st_size - 200)


def empty(first: Path, _second: Path):
    os.truncate(first, 0)


def swap(first: Path, second: Path):
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


@pytest.mark.parametrize(("damage", "lost"), [(flip_a_bit, 1), (truncate, 1), (empty, 1), (swap, 2)])
def test_damage_is_noticed_and_mended(tiny_clip, many_images, tmp_path, encoded, damage, lost):
    def images():
        return FeatureEncoder(tiny_clip, tmp_path / "store", many_images[0].parent).images(many_images[:128])

    first = images()
    names = blocks(tmp_path / "store")
    damage(*names)
    with pytest.warns(UserWarning, match="damaged; it is removed") as caught:
        assert torch.equal(images(), first)
    assert encoded == [64, 64] + [64] * lost
    named = [str(w.message).split(" is damaged")[0] for w in caught]
    assert set(named) <= set(map(str, names)) and len(named) == lost
    assert blocks(tmp_path / "store") == names  # the same content has the same name
    assert torch.equal(images(), first) and len(encoded) == 2 + lost


class Hostile:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("write", ["pickle", "torch"])
@pytest.mark.parametrize("name", ["its checksum", "another"])
def test_a_pickle_among_the_blocks_never_runs(tiny_clip, many_images, tmp_path, encoded, write, name):
    store = FeatureEncoder(tiny_clip, tmp_path / "store", many_images[0].parent)
    first = store.images(many_images[:5])
    path, run = tmp_path / "planted", tmp_path / "it ran"
    if write == "pickle":
        path.write_bytes(pickle.dumps(Hostile(run)))
    else:
        torch.save({"keys": Hostile(run)}, path)
    stem = hashlib.sha256(path.read_bytes()).hexdigest() if name == "its checksum" else "0" * 64
    planted = path.rename(blocks(store.folder)[0].with_name(f"{stem}.safetensors"))
    assert torch.equal(store.images(many_images[:5]), first)
    with pytest.warns(UserWarning, match=stem):
        assert torch.equal(store.images(many_images[:6])[:5], first)
    assert encoded == [5, 1] and not run.exists() and not planted.exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CcliError, match=r"cannot write features to .*file/store.*CCLI_STORE") as caught:
        RowStore(tmp_path / "file" / "store", {}).rows(["key"], lambda missing: [])
    assert "\n" not in str(caught.value)


def failing(original, partly=False):
    """`original`, but for blocks there is no space left, after half of the content where `partly`."""

    def write(path, argument):
        if "spec.json" not in str(path):
            if partly:
                original(path, argument[: len(argument) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(path, argument)

    return write


@pytest.mark.parametrize("when", ["writing", "moving"])
def test_a_full_disk_is_named_and_leaves_nothing_half_written(tiny_clip, many_images, tmp_path, when):
    store = FeatureEncoder(tiny_clip, tmp_path / "store", many_images[0].parent)
    with pytest.MonkeyPatch.context() as patch:
        if when == "writing":
            patch.setattr(Path, "write_bytes", failing(Path.write_bytes, partly=True))
        else:
            patch.setattr(os, "replace", failing(os.replace))
        with pytest.raises(CcliError, match=r"No space left.*CCLI_STORE") as caught:
            store.images(many_images[:3])
    assert str(tmp_path / "store") in str(caught.value) and "\n" not in str(caught.value)
    assert not partials(store.folder) and not blocks(store.folder)
    assert len(store.images(many_images[:3])) == 3


def test_a_complete_store_is_read_without_a_lock(tmp_path):
    def encode(missing):
        yield missing, torch.ones(len(missing), 2)

    store = RowStore(tmp_path, {})
    store.rows(["a"], encode)
    (store.folder / "lock").unlink(missing_ok=True)
    (store.folder / "lock").mkdir()  # cannot be locked
    assert RowStore(tmp_path, {}).rows(["a", "a"], encode).tolist() == [[1, 1], [1, 1]]
    with pytest.raises(CcliError, match="CCLI_STORE"):
        RowStore(tmp_path, {}).rows(["b"], encode)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])  # the last is beyond float16
def test_features_that_cannot_be_kept_are_refused(tmp_path, value):
    def encode(missing):
        yield missing, torch.full((len(missing), 2), value)

    with pytest.raises(CcliError, match="not finite"):
        RowStore(tmp_path, {}).rows(["a"], encode)
    assert not blocks(tmp_path)


def test_rows_by_key_and_by_spec(tmp_path):
    asked = []

    def encode(missing):
        asked.append(list(missing))
        for k in missing:  # blocks of one row
            yield [k], torch.tensor([[k + 1.0, len(asked)]])

    store = RowStore(tmp_path, {"weights": "a"})
    assert store.rows(["x", "y", "x"], encode)[:, 1].tolist() == [1, 1, 1]
    assert store.rows(["z", "y"], encode).tolist() == [[1, 2], [2, 1]]
    assert asked[1:] == [[0]] and len(asked[0]) == 2
    assert RowStore(tmp_path, {"weights": "a"}).rows(["z", "\udcff"], encode)[:, 1].tolist() == [2, 3]
    assert RowStore(tmp_path, {"weights": "b"}).rows(["z"], encode).tolist() == [[1, 4]]


def test_few_blocks_are_held_and_the_rows_are_the_same(tmp_path, monkeypatch):
    rows = torch.randn(40, 8, generator=torch.Generator().manual_seed(0)).half().float()
    keys = [str(k) for k in range(40)]

    def encode(missing):
        return (([k], rows[k : k + 1]) for k in missing)

    assert torch.equal(RowStore(tmp_path, {}).rows(keys, encode), rows)
    monkeypatch.setattr("ccli.features.row_store.HELD", 5 * 8 * 2)
    store, order = RowStore(tmp_path, {}), torch.randperm(40, generator=torch.Generator().manual_seed(1)).tolist()
    for _ in range(2):
        assert torch.equal(store.rows([keys[k] for k in order], None), rows[order])
        assert len(store._open) == 5


def spoil(block):
    block.unlink()


def turn(block):
    content = bytearray(block.read_bytes())
    content[-1] ^= 1
    block.write_bytes(content)


@pytest.mark.parametrize("damage", [spoil, turn])
def test_a_block_that_goes_bad_while_it_is_in_use_is_encoded_again(tmp_path, monkeypatch, damage):
    monkeypatch.setattr("ccli.features.row_store.HELD", 1)  # one block stays at hand
    calls = []

    def encode(missing):
        calls.append(missing)
        return (([k], torch.full((1, 4), float(k))) for k in missing)

    store, keys = RowStore(tmp_path, {}), ["0", "1", "2"]
    rows = store.rows(keys, encode)
    for block in store.folder.glob("*.safetensors"):
        damage(block)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert torch.equal(store.rows(keys, encode), rows)
    assert calls == [[0, 1, 2], [0, 1, 2]]
    assert len([w for w in caught if "damaged; it is removed" in str(w.message)]) == (3 if damage is turn else 0)


def test_a_disk_that_damages_all_it_is_given_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("ccli.features.row_store.HELD", 1)

    def encode(missing):
        for block in tmp_path.glob("*/*.safetensors"):
            block.unlink()
        return (([k], torch.full((1, 4), float(k))) for k in missing)

    def losing(path, content, write=Path.write_bytes):
        return write(path, content[:-1])

    monkeypatch.setattr(Path, "write_bytes", losing)
    with pytest.warns(UserWarning), pytest.raises(CcliError, match=r"damaged again and again; set CCLI_STORE") as error:
        RowStore(tmp_path, {}).rows(["a", "b"], encode)
    assert str(tmp_path) in str(error.value)
