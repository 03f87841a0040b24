"""The vocabulary of text concepts: reading it, comparing entries, leaving out class names.

A vocabulary file is UTF-8 text with one concept per line. A line such as `[colour]` starts a kind, a line that starts
with `#` is a comment, and blank lines are ignored.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

from ccli.errors import CcliError, os_errors

PACKAGED_FILE = Path(__file__).with_name("vocabulary.txt")
MAX_LINE = 200
DEFAULT_KIND = "concept"

_PLUS_S = "avalanche axe bikini canoe emu horseshoe kiwi menu moustache mustache quiche shoe ski taxi toe"
_PLUS_ES = "bus cactus crocus hibiscus lens octopus walrus"
_F_TO_VES = "calf half hoof leaf loaf scarf shelf wolf"
_OTHERS = "children:child feet:foot geese:goose knives:knife men:man mice:mouse oxen:ox teeth:tooth women:woman"
_IRREGULAR = {  # plurals that the rules of `_singular` would miss, and their singulars
    **{f"{word}s": word for word in _PLUS_S.split()},
    **{f"{word}es": word for word in _PLUS_ES.split()},
    **{f"{word[:-1]}ves": word for word in _F_TO_VES.split()},
    **dict(pair.split(":") for pair in _OTHERS.split()),
}
_NOT_PLURAL = frozenset({"bias", "canvas", "christmas", "gas", "lens", "series", "species"})
_SIBILANT_PLURAL = re.compile(r"(?:ss|x|ch|sh|zz)es$")


@dataclass(frozen=True)
class Vocabulary:
    """Text concepts in file order, as written in the file, and the kind of each."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.kinds):
            raise CcliError(f"a vocabulary of {len(self.names)} names has {len(self.kinds)} kinds; give one per name")

    def __len__(self) -> int:
        return len(self.names)


def fold(text: str) -> str:
    """The form in which two entries are compared.

    Case is folded, underscores and hyphens count as spaces, spaces are collapsed, and an English plural of the last
    word becomes its singular: "Bell_Peppers" and "bell pepper" fold alike. The result is a key, not for display.
    """
    words = re.sub(r"[_\-\s]+", " ", text.casefold()).split()
    if words:
        words[-1] = _singular(words[-1])
    return " ".join(words)


def _singular(word: str) -> str:
    if word in _IRREGULAR or word in _NOT_PLURAL or len(word) <= 3:
        return _IRREGULAR.get(word, word)
    if word.endswith("ies"):
        return word[:-3] + "y" if len(word) > 4 else word[:-1]  # "berries" -> "berry", but "pies" -> "pie"
    if word.endswith("ie") and len(word) > 3:
        return word[:-2] + "y"  # "cookie" and "cookies" fold alike
    if word.endswith("oes") or _SIBILANT_PLURAL.search(word):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def read_vocabulary(path: str | Path | None = None) -> Vocabulary:
    """Read a vocabulary file.

    Entries before the first `[kind]` header have the kind "concept". Of entries that fold alike, the first is kept.

    `path` None is the file that comes with the package.

    Raises:
        CcliError: the file cannot be read, is not UTF-8, has a line of more than 200 characters or an unfinished
            `[kind]` header, or holds no entry.
    """
    file = PACKAGED_FILE if path is None else Path(path)
    entries: dict[str, tuple[str, str]] = {}  # folded -> name, kind
    kind = DEFAULT_KIND
    for number, line in enumerate(_read_text(file).splitlines(), start=1):
        if len(line) > MAX_LINE:
            raise CcliError(
                f"{file}, line {number}: has {len(line)} characters, at most {MAX_LINE} are allowed; "
                "write one concept per line"
            )
        entry = " ".join(line.split())
        if not entry or entry.startswith("#"):
            continue
        if entry.startswith("["):
            kind = entry[1:-1].strip()
            if not entry.endswith("]") or not kind:
                raise CcliError(f"{file}, line {number}: {entry!r} is not a header; write [kind]")
        elif key := fold(entry):
            entries.setdefault(key, (entry, kind))
    if not entries:
        raise CcliError(f"{file}: no concept in this vocabulary file; write at least one, one per line")
    return Vocabulary(*zip(*entries.values()))


def _read_text(file: Path) -> str:
    with os_errors(f"{file}: cannot read this vocabulary file", "give the path of a readable text file"):
        data = file.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise CcliError(f"{file}, line {number}: not UTF-8 text; save the vocabulary file as UTF-8") from error


def without_class_names(vocab: Vocabulary, classnames: Iterable[str]) -> tuple[Vocabulary, int]:
    """Remove the entries that are a class name.

    Only whole entries count, after folding: the class "wings" removes the entry "wing" and keeps "with wings".

    Returns:
        The remaining entries, in order (possibly none), and how many were removed.
    """
    folded = {fold(name) for name in classnames}
    keep = [fold(name) not in folded for name in vocab.names]
    kept = Vocabulary(tuple(compress(vocab.names, keep)), tuple(compress(vocab.kinds, keep)))
    return kept, len(vocab) - len(kept)


def fingerprint(vocab: Vocabulary) -> str:
    """The SHA-256 (hex) of the names in order; kinds do not count."""
    return hashlib.sha256("\n".join(vocab.names).encode("utf-8", "surrogatepass")).hexdigest()


def vocabulary_facts(names: tuple[str, ...]) -> dict[str, str | int]:
    """The fingerprint and the size of a vocabulary, as a classifier keeps them."""
    return {"fingerprint": fingerprint(Vocabulary(names, ("",) * len(names))), "size": len(names)}
