import json
import random

import pytest
from dassl.data.datasets import DatasetBase, Datum
from helpers import SHARED

from ccli.datasets.common.draw import draw_train_val
from ccli.datasets.common.splits import read_split
from ccli.errors import CcliError

SPLITS = {"dtd": "DescribableTextures", "eurosat": "EuroSAT", "oxford_pets": "OxfordPets"}
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="no published picks beside this checkout")


def write_split(path, sizes, seed=0):
    """A split whose labels come mixed, as (path, label, class name); `sizes` has the images of each label in a part."""
    shuffle = random.Random(seed).shuffle
    data = {}
    for part, counts in sizes.items():
        entries = [[f"{part}/{label}_{k}.jpg", label, f"name {label}"] for label, n in counts.items() for k in range(n)]
        shuffle(entries)
        data[part] = entries
    path.write_text(json.dumps(data))
    return data


def published_draw(data, shots, seed):
    """CoOp's draw, written down again: the global generator, sample per label in order of first appearance."""
    random.seed(seed)
    picked = []
    for part, count in (("train", shots), ("val", min(shots, 4))):
        by_label = {}
        for entry in data[part]:
            by_label.setdefault(entry[1], []).append(entry)
        rows = []
        for entries in by_label.values():
            rows += random.sample(entries, count) if len(entries) >= count else entries
        picked.append([(path, label) for path, label, _ in rows])
    return picked


def our_draw(split, shots, seed, name="made up"):
    labels = {part: [label for _, label, _ in split[part]] for part in ("train", "val")}
    picks = draw_train_val(labels["train"], labels["val"], shots, seed, name)
    return [[split[part][row][:2] for row in rows] for part, rows in zip(("train", "val"), picks)]


@needs_shared
@pytest.mark.parametrize("name", SPLITS)
@pytest.mark.parametrize("shots", [1, 4, 16])
def test_the_published_picks(name, shots):
    split = read_split(SHARED / "coop_splits" / f"split_zhou_{SPLITS[name]}.json")._asdict()
    published = json.loads((SHARED / "coop_fewshot" / f"{name}-shot_{shots}-seed_1.json").read_text())
    train, val = our_draw(split, shots, 1)
    assert train == [tuple(x) for x in published["train"]]
    assert val == [tuple(x) for x in published["val"]]


@needs_shared
def test_every_published_file_is_covered():
    files = {path.name for path in (SHARED / "coop_fewshot").iterdir()}
    assert files == {f"{name}-shot_{shots}-seed_1.json" for name in SPLITS for shots in (1, 4, 16)}


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 1234])
@pytest.mark.parametrize("shots", [1, 2, 4, 8, 16])
def test_the_same_draw_as_code_of_its_own(tmp_path, seed, shots):
    sizes = {"train": {k: 10 + 3 * k for k in range(5)}, "val": {k: 3 + k for k in range(5)}, "test": {0: 1}}
    data = write_split(tmp_path / "split.json", sizes)
    split = read_split(tmp_path / "split.json")._asdict()
    assert our_draw(split, shots, seed) == published_draw(data, shots, seed)


def test_drawing_leaves_the_global_generator_alone():
    random.seed(5)
    expected = random.random()
    random.seed(5)
    draw_train_val([0] * 20, [0] * 8, 4, 1, "x")
    assert random.random() == expected


def test_a_seed_gives_one_draw_and_none_gives_many():
    labels = [k % 3 for k in range(90)]
    assert draw_train_val(labels, labels, 4, 2, "x") == draw_train_val(labels, labels, 4, 2, "x")
    assert draw_train_val(labels, labels, 4, 2, "x") != draw_train_val(labels, labels, 4, 3, "x")
    unseeded = [draw_train_val(labels, labels, 4, -1, "x")[0] for _ in range(5)]
    assert any(rows != unseeded[0] for rows in unseeded)


def test_below_one_shot_is_the_whole_pool():
    labels = [2, 0, 1, 0, 2, 2]
    assert draw_train_val(labels, labels[:4], -1, 1, "x") == ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3])


def test_a_class_with_fewer_images_gives_all_and_says_so_once(recwarn):
    labels = [0] * 8 + [1] * 3 + [2] * 2
    train, _ = draw_train_val(labels, [], 4, 1, "pond life")
    drawn = [labels[row] for row in train]
    assert [drawn.count(k) for k in range(3)] == [4, 3, 2] and set(range(8, 13)) <= set(train)
    assert [str(one.message) for one in recwarn] == [
        "pond life: 2 of 3 classes have fewer than 4 training images; all they have are used"
    ]
    draw_train_val([0] * 8, [0], 4, 1, "pond life")
    assert len(recwarn) == 1


@pytest.mark.parametrize("shots", [1, 4, 16])
def test_the_toolbox_picks_the_same(tmp_path, shots):
    sizes = {"train": {k: 18 - k for k in range(4)}, "val": {k: 5 for k in range(4)}, "test": {0: 1}}
    write_split(tmp_path / "split.json", sizes)
    split = read_split(tmp_path / "split.json")._asdict()
    (tmp_path / "image").write_bytes(b"")

    class Named(Datum):
        """A datum that knows which row it was, whatever file it names."""

        row = 0

    def items(part):
        found = []
        for row, (_, label, name) in enumerate(split[part]):
            found.append(Named(impath=str(tmp_path / "image"), label=label, classname=name))
            found[-1].row = row
        return found

    pool = DatasetBase(train_x=items("train"), val=items("val"), test=items("test"))
    random.seed(3)
    theirs = [
        [item.row for item in pool.generate_fewshot_dataset(part, num_shots=n)]
        for part, n in ((pool.train_x, shots), (pool.val, min(shots, 4)))
    ]
    labels = [[label for _, label, _ in split[part]] for part in ("train", "val")]
    assert theirs == list(draw_train_val(*labels, shots, 3, "x"))


def test_a_split_file_keeps_its_order(tmp_path):
    data = write_split(tmp_path / "split.json", {"train": {0: 3, 1: 3}, "val": {0: 1}, "test": {1: 2}})
    read = read_split(tmp_path / "split.json")._asdict()
    assert {part: read[part] for part in data} == {part: [tuple(e) for e in data[part]] for part in data}


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"train": []}', '{"train": [["a", -1, "x"]], "val": [], "test": []}',
     '{"train": [["a", "0", "x"]], "val": [], "test": []}', '{"train": [["a"]], "val": [], "test": []}'],
)  # fmt: skip
def test_a_file_that_is_no_split_is_named(tmp_path, content):
    (tmp_path / "split.json").write_text(content)
    with pytest.raises(CcliError, match=r"split\.json is not a split file"):
        read_split(tmp_path / "split.json")


def test_a_missing_split_is_never_made_up(tmp_path):
    with pytest.raises(CcliError, match=r"no split file .*absent\.json; DATASETS\.md"):
        read_split(tmp_path / "absent.json")
    assert list(tmp_path.iterdir()) == []
