import hashlib
import json
import re
import subprocess
import time
from collections import Counter

import numpy as np
import pytest
from fork_server import python
from helpers import ROOT, config

from ccli.concepts.vocabulary import read_vocabulary
from ccli.datasets import concept_shapes
from ccli.datasets.common.splits import PARTS, read_split
from ccli.datasets.concept_shapes import SPLIT_FILE, ConceptShapes, ConceptShapesA, ConceptShapesR, ConceptShapesV2
from ccli.datasets.scenes.classes import CLASSES
from ccli.datasets.scenes.render import SIZE
from ccli.datasets.scenes.sample import HELD_OUT, class_scene
from scripts.demo_clip import captions as script
from scripts.demo_clip.words import all_words, words_of_scene


@pytest.fixture
def small(monkeypatch):
    """A few images a class."""
    monkeypatch.setattr(ConceptShapes, "counts", {"train": 2, "val": 1, "test": 1})
    monkeypatch.setattr(ConceptShapesV2, "counts", {"test": 1})


def digests(folder):
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*.*")}


def test_two_generations_are_the_same_byte_for_byte(tmp_path, small):
    for root in ("a", "b"):
        ConceptShapes(config(ROOT=str(tmp_path / root)))
    first, second = digests(tmp_path / "a" / "concept_shapes"), digests(tmp_path / "b" / "concept_shapes")
    assert first == second and len(first) == 24 * 4 + 1
    assert len(set(first.values())) == len(first)  # no picture twice, in no two parts


def test_more_images_leave_the_first_ones_as_they_are(tmp_path, small, monkeypatch):
    ConceptShapes(config(ROOT=str(tmp_path / "a")))
    monkeypatch.setattr(ConceptShapes, "counts", {"train": 3, "val": 1, "test": 1})
    ConceptShapes(config(ROOT=str(tmp_path / "b")))
    first, second = (digests(tmp_path / root / "concept_shapes" / "images") for root in "ab")
    assert first.items() < second.items()


def test_sizes():
    assert len(CLASSES) == 24 >= 20
    assert ConceptShapes.counts == {"train": 32, "val": 16, "test": 100}
    kinds = [kind for kind in vars(concept_shapes).values() if isinstance(kind, type)]
    shifted = [kind for kind in kinds if issubclass(kind, ConceptShapesV2)]
    assert len(shifted) == 4
    for cls in shifted:
        assert cls.test_only and cls.counts["test"] >= 60 and set(cls.names) <= set(CLASSES)


def test_every_image_is_there_and_labelled(tmp_path, small):
    dataset = ConceptShapes(config(ROOT=str(tmp_path), NUM_SHOTS=1))
    assert [len(x) for x in (dataset.train_x, dataset.val, dataset.test)] == [24, 24, 24]
    assert dataset.classnames == dataset.class_ids == list(CLASSES)
    folder = tmp_path / "concept_shapes"
    split = read_split(folder / SPLIT_FILE)._asdict()
    images = sorted(str(p.relative_to(folder / "images")) for p in folder.rglob("*.png"))
    assert sorted(path for part in PARTS for path, _, _ in split[part]) == images
    for path, label, name in split["test"]:
        assert list(CLASSES)[label] == name and f"/{name.replace(' ', '_')}/" in path


def test_shifted_versions_have_subsets_of_the_classes(tmp_path, small):
    some, fewer = ConceptShapesA(config(ROOT=str(tmp_path))), ConceptShapesR(config(ROOT=str(tmp_path)))
    assert some.class_ids == list(CLASSES)[::2] and fewer.class_ids == list(CLASSES)[::3]
    assert some.num_classes == 12 == len(some.test) and fewer.num_classes == 8


def test_no_part_alone_gives_a_class_away():
    for position in range(3):
        shared = Counter(triple[position] for triple in CLASSES.values())
        assert min(shared.values()) >= 2
    assert len(set(CLASSES.values())) == len(CLASSES)
    for name, triple in CLASSES.items():
        assert sum(part in name for part in triple) == 2  # a name leaves one part unsaid


@pytest.mark.parametrize("shift", ["", "v2", "sketch", "a", "r"])
def test_only_the_main_object_is_of_the_class(shift):
    rng = np.random.default_rng(0)
    for triple in CLASSES.values():
        for _ in range(10):
            main, *others = class_scene(triple, rng, shift).things
            assert (main.colour, main.texture, main.shape) == triple and others
            assert not {(o.colour, o.texture, o.shape) for o in others} & HELD_OUT


@pytest.fixture(scope="module")
def open_scenes():
    rng = np.random.default_rng(5)
    return [script.open_scene(rng) for _ in range(20_000)]


@pytest.fixture(scope="module")
def captions(open_scenes):
    rng = np.random.default_rng(6)
    return [script.caption(scene, rng) for scene in open_scenes]


def test_held_out_combinations_never_occur_in_open_scenes(open_scenes):
    seen = {(t.colour, t.texture, t.shape) for scene in open_scenes for t in scene.things}
    assert set(CLASSES.values()) == HELD_OUT and not seen & HELD_OUT
    assert len(seen) == 12 * 8 * 11 - 24  # every other combination does


def test_no_caption_names_a_class(captions):
    for name in CLASSES:
        assert not any(name in text for text in captions)


def test_captions_speak_the_vocabulary(captions):
    names = read_vocabulary().names
    texts = Counter(" " + " ".join(re.findall(r"[\w-]+", text)) + " " for text in captions)
    corpus = "|".join(texts)
    spoken = [name for name in names if f" {name} " in corpus]
    assert len(spoken) >= 150
    assert set(all_words()) <= set(names)
    unspoken = [word for word in all_words() if f" {word} " not in corpus]
    assert unspoken == []


def test_words_of_a_scene_are_among_all_words(open_scenes):
    words = set(all_words())
    assert all(words.issuperset(words_of_scene(scene)) for scene in open_scenes[:3000])


def test_an_interrupted_generation_is_not_taken_for_complete(tmp_path, small, monkeypatch):
    drawn, original = [], concept_shapes.render

    def interrupted(*scene):
        drawn.append(scene)
        if len(drawn) > 40:
            raise KeyboardInterrupt
        return original(*scene)

    monkeypatch.setattr(concept_shapes, "render", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ConceptShapes(config(ROOT=str(tmp_path)))
    assert not (tmp_path / "concept_shapes").exists()
    monkeypatch.setattr(concept_shapes, "render", original)
    (tmp_path / "concept_shapes" / "images" / "train").mkdir(parents=True)  # a folder without its split file
    dataset = ConceptShapes(config(ROOT=str(tmp_path)))
    assert len(dataset.train_x) == 48 and len(list((tmp_path / "concept_shapes").rglob("*.png"))) == 96


def test_a_complete_folder_is_left_alone(tmp_path, small, monkeypatch):
    ConceptShapes(config(ROOT=str(tmp_path)))
    monkeypatch.setattr(concept_shapes, "render", None)
    assert len(ConceptShapes(config(ROOT=str(tmp_path))).test) == 24


GENERATE = """
import json, sys
sys.path.insert(0, sys.argv[2])
from helpers import config
from ccli.datasets.concept_shapes import ConceptShapes
ConceptShapes.counts = {"train": 6, "val": 2, "test": 2}
print(json.dumps([len(ConceptShapes(config(ROOT=sys.argv[1])).train_x)]))
"""


def test_two_processes_at_once(tmp_path):
    command = [python(), "-c", GENERATE, str(tmp_path), str(ROOT / "tests")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        stdout, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr
        assert json.loads(stdout.splitlines()[-1]) == [144]
    assert len(list((tmp_path / "concept_shapes").rglob("*.png"))) == 240
    assert not list(tmp_path.glob("*.part")) and not list(tmp_path.glob(".*.part"))


@pytest.mark.slow
def test_the_whole_set_takes_seconds(tmp_path):
    start = time.monotonic()
    dataset = ConceptShapes(config(ROOT=str(tmp_path)))
    assert time.monotonic() - start < 30
    assert [len(x) for x in (dataset.train_x, dataset.val, dataset.test)] == [768, 384, 2400]
    with open(dataset.test[0].impath, "rb") as file:
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"
    assert SIZE == 64
