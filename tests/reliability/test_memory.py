"""Large bundles stay on disk: the same bits, and memory that does not grow with the test set."""

import os
import zipfile

import numpy as np
import pytest
import torch
from helpers import bundle_args, make_bundle, run_here

from benchmarks.generated import large_bundle
from benchmarks.processes import measured, one_run
from ccli.errors import CcliError
from ccli.features import bundles, lazy_rows
from ccli.features.bundles import read_bundle, write_bundle
from ccli.features.lazy_rows import LazyRows, large_rows
from ccli.results.records import read_record, same_record

SAVERS = {"stored": np.savez, "compressed": np.savez_compressed}


@pytest.fixture
def all_on_disk(monkeypatch):
    monkeypatch.setattr(lazy_rows, "LARGE", 0)
    monkeypatch.setattr(lazy_rows, "AT_ONCE", 50)


@pytest.mark.parametrize("save", SAVERS)
@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8"])
def test_rows_on_disk_are_the_rows_in_memory(tmp_path, all_on_disk, save, dtype):
    x = (3 * np.random.default_rng(0).standard_normal((23, 7))).astype(dtype)
    SAVERS[save](tmp_path / "x.npz", other=np.arange(5), x=x)
    whole = torch.nn.functional.normalize(torch.from_numpy(x.astype(np.float32)), dim=-1)
    rows = large_rows(tmp_path / "x.npz", "x").checked("x")
    assert rows.shape == (23, 7) and len(rows) == 23
    some = torch.tensor([4, 5, 6, 22, 0, 0, 9])
    for which in (slice(None), slice(3, 19), slice(0, 0), some, some.tolist(), torch.tensor([], dtype=torch.long)):
        assert torch.equal(rows[which], whole[which])
    mask = torch.arange(23) % 3 == 0
    kept = rows[mask]
    assert isinstance(kept, LazyRows) and kept.shape == (8, 7) and torch.equal(kept[2:5], whole[mask][2:5])
    assert torch.equal(kept[torch.arange(8) > 5][:], whole[mask][6:])


def test_what_is_small_or_no_rows_of_floats_is_left_to_numpy(tmp_path, monkeypatch):
    np.savez(
        tmp_path / "x.npz", small=np.ones((3, 4), np.float32), f=np.asfortranarray(np.ones((9, 9))), i=np.ones(9, int)
    )
    assert large_rows(tmp_path / "x.npz", "small") is None
    monkeypatch.setattr(lazy_rows, "LARGE", 0)
    assert [large_rows(tmp_path / "x.npz", name) for name in ("f", "i", "absent")] == [None] * 3
    assert large_rows(tmp_path / "x.npz", "small") is not None


@pytest.mark.parametrize("save", SAVERS)
@pytest.mark.parametrize("damage", ["nan", "zeros", "a flipped bit", "too few rows", "too many rows"])
def test_damage_is_refused_when_the_bundle_is_read(tmp_path, all_on_disk, save, damage):
    path = write_bundle(tmp_path / "b.npz", make_bundle())
    arrays = dict(np.load(path))
    rows = arrays.pop("test_features")
    if damage in ("nan", "zeros"):
        rows[-2] = np.nan if damage == "nan" else 0
    SAVERS[save](path, **arrays)
    lie = {"too few rows": 1, "too many rows": -1}.get(damage, 0)
    kind = zipfile.ZIP_STORED if save == "stored" else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "a", kind) as archive, archive.open("test_features.npy", "w") as file:
        header = {"descr": "<f2", "fortran_order": False, "shape": (len(rows) + lie, rows.shape[1])}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(rows.tobytes())
    if damage == "a flipped bit":
        content = bytearray(path.read_bytes())
        content[zipfile.ZipFile(path).getinfo("test_features.npy").header_offset + 400] ^= 1
        path.write_bytes(content)
    with pytest.raises(CcliError, match=r"test_features.*(not finite|zeros|is not readable)") as error:
        read_bundle(path, on_disk=True)
    assert "\n" not in str(error.value)


def test_damage_of_the_zip_is_refused_in_one_line(tmp_path, all_on_disk):
    path = write_bundle(tmp_path / "b.npz", make_bundle())
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CcliError, match="not readable"):
        read_bundle(path, on_disk=True)


@pytest.mark.parametrize(
    "trainer, opts",
    [("CCLI", ()), ("GDA", ()), ("TipAdapterF", ("OPTIM.MAX_EPOCH", 2)), ("ZeroshotCLIP", ()),
     ("TipAdapter", ("PROTOCOL", "paper")), ("CCLI", ("DATASET.SUBSAMPLE_CLASSES", "new"))],
)  # fmt: skip
def test_a_run_on_rows_on_disk_is_the_run_in_memory(tmp_path, monkeypatch, trainer, opts):
    path = write_bundle(tmp_path / "b.npz", make_bundle())
    run_here(*bundle_args(path, tmp_path / "memory", *opts, trainer=trainer))
    monkeypatch.setattr(lazy_rows, "LARGE", 0)
    seen = []
    monkeypatch.setattr(bundles, "large_rows", lambda *a: seen.append(large_rows(*a)) or seen[-1])
    os.utime(path, ns=(1, 1))  # or the bundle that is at hand would be used
    run_here(*bundle_args(path, tmp_path / "disk", *opts, trainer=trainer))
    assert len(seen) == 3 and all(isinstance(x, LazyRows) for x in seen)
    records = [read_record(tmp_path / name) for name in ("memory", "disk")]
    assert set(same_record(*records)) <= {"config"}  # which names the output folder
    tensors = [(tmp_path / name / "classifier.safetensors").read_bytes() for name in ("memory", "disk")]
    assert tensors[0] == tensors[1]


def test_memory_does_not_grow_with_the_test_set(tmp_path):
    """10 000 against 100 000 images of width 512: 20 and 205 MB of features in float32."""
    found = []
    for images in (10_000, 100_000):
        path = large_bundle(tmp_path / "b.npz", images, 512, 16, classes=10, dtype="<f2")
        run = measured(one_run(path, "GDA", 16, tmp_path / str(images)), OMP_NUM_THREADS="1")
        found.append(run.memory)
        assert run.record["total"] == images
    assert found[1] < found[0] + 0.1, found  # GB; predictions and labels are a part of it
