import shlex
from collections import Counter

import pytest

from ccli.concepts.vocabulary import PACKAGED_FILE, Vocabulary, fingerprint, fold, read_vocabulary, without_class_names
from ccli.errors import CcliError

# Words that the vocabulary must hold: what the generated pictures are described by.
COLOURS = """
red crimson scarlet ruby orange tangerine amber yellow golden lemon green emerald jade teal turquoise cyan aqua blue
navy azure cobalt purple violet plum pink rosy magenta brown chocolate chestnut white ivory black ebony inky grey silver
ashen colorful
"""
PATTERNS = """
plain solid uniform smooth striped stripy banded lined dotted spotted polka-dotted checkered chequered checked zigzag
zigzagged chevron netted gridded meshed latticed speckled flecked grainy sprinkled shaded graded gradient fading wavy
rippled undulating outlined bordered framed
"""
SHAPES = """
circle disc round circular square boxy triangle triangular star star-shaped cross cross-shaped "plus sign" heart
heart-shaped ring ring-shaped hoop crescent crescent-shaped moon-shaped diamond rhombus diamond-shaped hexagon hexagonal
oval ellipse egg-shaped arrow pointer arrow-shaped flower-shaped blossom petalled drop teardrop drop-shaped pointed
"""
SETTINGS = """
grassy meadow lawn watery sea waves sandy desert beach "brick wall" bricks "night sky" starlit nocturnal wooden planks
wood snowy snow frosty cloudy clouds sky "blank background" "plain background" studio sunny shadowy bright dark dim
"""
PARTS = "winged wing tailed tail legged leg horned horn eye wide-eyed hat"
VIEWS = """
big large huge small little tiny blurry "out of focus" noisy faded washed-out sketch drawing "line drawing" left right
top bottom centered tilted rotated crowded cluttered empty alone "in a group"
"""


@pytest.fixture(scope="module")
def vocabulary():
    return read_vocabulary()


def write(tmp_path, text):
    path = tmp_path / "words.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_size_and_kinds(vocabulary):
    assert 1900 <= len(vocabulary) <= 2200
    per_kind = Counter(vocabulary.kinds)
    assert len(per_kind) >= 20
    assert min(per_kind.values()) >= 20


@pytest.mark.parametrize("words", [COLOURS, PATTERNS, SHAPES, SETTINGS, PARTS, VIEWS])
def test_words_it_must_hold(vocabulary, words):
    assert set(shlex.split(words)) - set(vocabulary.names) == set()


def test_entries_are_clean(vocabulary):
    for name in vocabulary.names:
        assert name == name.lower().strip()
        assert len(name.split()) <= 5
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz '-"), name


def test_file_has_no_duplicates(vocabulary):
    lines = [line for line in PACKAGED_FILE.read_text(encoding="utf-8").splitlines() if line[:1] not in ("", "#", "[")]
    assert lines == list(vocabulary.names)
    assert [entry for entry, n in Counter(map(fold, lines)).items() if n > 1] == []


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("wings", "wing"),
        ("boxes", "box"),
        ("berries", "berry"),
        ("pies", "pie"),
        ("leaves", "leaf"),
        ("brushes", "brush"),
        ("dresses", "dress"),
        ("houses", "house"),
        ("tomatoes", "tomato"),
        ("shoes", "shoe"),
        ("glass", "glass"),
        ("grass", "grass"),
        ("cactus", "cactus"),
        ("iris", "iris"),
        ("gas", "gas"),
        ("Polka-Dotted", "polka dotted"),
        ("  Bell_Peppers ", "bell pepper"),
        ("wings of glass", "wings of glass"),
        ("", ""),
    ],
)
def test_fold(text, folded):
    assert fold(text) == folded


def test_fold_agrees_on_ie_words():
    assert fold("cookies") == fold("cookie")
    assert fold("quiches") == fold("quiche")


def test_read(tmp_path):
    path = write(tmp_path, "\ufeffearly\n# note\n[colour]\n red \n\nReds\r\n[ part ]\nwing\nbig  wing\n")
    assert read_vocabulary(path) == Vocabulary(
        ("early", "red", "wing", "big wing"), ("concept", "colour", "part", "part")
    )
    assert read_vocabulary(str(path)) == read_vocabulary(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no concept"),
        ("# only\n[colour]\n", "no concept"),
        (b"red\ngr\xfcn\n", "line 2: not UTF-8"),
        ("red\n" + "x" * 201, "line 2: has 201 characters"),
        ("[colour\nred\n", "line 1: .*not a header"),
        ("[]\nred\n", "line 1: .*not a header"),
    ],
)
def test_bad_files(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(CcliError, match=message) as caught:
        read_vocabulary(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_line_of_200_characters_is_read(tmp_path):
    assert read_vocabulary(write(tmp_path, "x" * 200)).names == ("x" * 200,)


def test_unreadable_file(tmp_path):
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(CcliError, match="cannot read this vocabulary file"):
            read_vocabulary(path)


def test_kinds_must_match_names():
    with pytest.raises(CcliError, match="2 names has 1 kinds"):
        Vocabulary(("red", "blue"), ("colour",))


def test_class_names_are_left_out():
    vocab = Vocabulary(("wing", "with wings", "Sea-Lake", "lake", "berries", "glass"), ("a", "b", "c", "d", "e", "f"))
    kept, dropped = without_class_names(vocab, ["Wings", "sea_lake", "berry", "glas"])
    assert kept == Vocabulary(("with wings", "lake", "glass"), ("b", "d", "f"))
    assert dropped == 3


def test_nothing_or_everything_is_left_out():
    vocab = Vocabulary(("red", "blue"), ("colour", "colour"))
    assert without_class_names(vocab, []) == (vocab, 0)
    assert without_class_names(vocab, ["RED", "blues"]) == (Vocabulary((), ()), 2)


def test_fingerprint():
    vocab = Vocabulary(("red", "blue"), ("colour", "colour"))
    # printf 'red\nblue' | sha256sum
    assert fingerprint(vocab) == "c3ab362e82116e0bb38c5e09c7bfc2c95bf580e995ff87c013f3c1be5aecbb40"
    assert fingerprint(Vocabulary(("red", "blue"), ("x", "y"))) == fingerprint(vocab)
    assert fingerprint(Vocabulary(("blue", "red"), ("x", "y"))) != fingerprint(vocab)
