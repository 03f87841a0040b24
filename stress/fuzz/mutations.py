"""Random damage to good files: to their bytes, and to the values of their json."""

import copy
import json
from random import Random
from typing import Any

TOKENS = (
    b"\0", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\r\n", b"\n", b"\xe2\x80\xa8", b"\x0c", b'"', b"[",
    b"{", b"]", b"}", b",", b":", b"-", b"e999", b"NaN", b"1" * 5000, b"%", b"* accuracy: 1e999%\n", b"[kind", b"#",
    b"../", b"\\", b"\\ud800", b"&a ", b"*a", b"!!python/object:os.system ", b"PK\x03\x04", b"\x93NUMPY",
)  # fmt: skip
ODD = (
    None, True, False, 0, 1, -1, 2, 2**31, 2**63, -(2**64), 10**30, 0.0, -0.5, 1e-320, 1e308, float("nan"),
    float("inf"), "", " ", "a", "\0", "\n", "\ud800", "\u2028", "../x", "/x", "nan", "0", "x" * 3000, [], {}, [[]],
    [None], [-1], {"": None}, {"name": "a"}, "{}", "{0}", "validation",
)  # fmt: skip
HOLE = "replaced by deeply nested brackets"  # which json.dumps would not write


def damage_bytes(rng: Random, content: bytes) -> bytes:
    """One to four changes: bits turned, bytes set, parts removed, doubled or moved, tokens put in, the end cut off."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(data) + 1)
        end = min(len(data), start + rng.choice((1, 1, 2, 4, 8, 64, 1024)))
        kind = rng.randrange(7)
        if kind == 0 and start < len(data):
            data[start] ^= 1 << rng.randrange(8)
        elif kind == 1 and start < len(data):
            data[start] = rng.choice((0, 1, 32, 48, 57, 127, 128, 255))
        elif kind == 2:
            del data[start:end]
        elif kind == 3:
            data[start:start] = data[start:end]
        elif kind == 4:
            data[start:start] = rng.choice(TOKENS)
        elif kind == 5 and rng.randrange(3) == 0:
            del data[start:]
        else:
            there = rng.randrange(len(data) + 1)
            data[start:end], data[there:there] = b"", data[start:end]
    return bytes(data)


def damage_value(rng: Random, value: Any) -> Any:
    """A copy with one to three of its parts replaced, removed, doubled, swapped or put under another key."""
    root = [copy.deepcopy(value)]
    for _ in range(rng.randint(1, 3)):
        holder, key = root, 0
        while isinstance(holder[key], dict | list) and holder[key] and (holder is root or rng.randrange(4)):
            holder = holder[key]
            key = rng.choice(list(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
        if holder is root:
            root = [odd(rng)]
        else:
            _damage_part(rng, holder, key)
    return root[0]


def odd(rng: Random) -> Any:
    return HOLE if rng.randrange(20) == 0 else copy.deepcopy(rng.choice(ODD))


def _damage_part(rng: Random, holder: Any, key: Any) -> None:
    kind, other = rng.randrange(6), rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    if kind < 3:
        holder[key] = _changed(rng, holder[key])
    elif kind == 3:
        del holder[key]
    elif kind == 4:
        holder[key], holder[other] = holder[other], holder[key]
    elif isinstance(holder, dict):
        holder[rng.choice((f"{key}x", "", "\ud800", "__class__", key.upper()))] = holder.pop(key)
    else:
        holder[key : key + rng.choice((0, 3, 1000))] = [copy.deepcopy(holder[other])]


def _changed(rng: Random, value: Any) -> Any:
    """An odd value, or the value slightly changed or as another type."""
    if rng.randrange(2):
        return odd(rng)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return [value] if rng.randrange(2) else odd(rng)
    if isinstance(value, str):
        return rng.choice((value + "\n", value.upper(), value[:-1], [value], value + "\ud800"))
    return rng.choice((value + 1, -value, str(value), float(value), value * 10**6, [value]))


def to_json(rng: Random, value: Any) -> bytes:
    """The value as json; HOLE becomes brackets nested up to 100 000 deep."""
    text = json.dumps(value, ensure_ascii=rng.randrange(2) == 0)
    if HOLE in text:
        depth = rng.choice((10, 300, 900, 1500, 100_000))
        opening, closing = rng.choice((("[", "]"), ('{"a":', "}")))
        text = text.replace(f'"{HOLE}"', opening * depth + "0" + closing * depth)
    return text.encode("utf-8", "surrogatepass")


def damage_json(rng: Random, value: Any) -> bytes:
    """A json file with damaged values, and in one of five cases with damaged bytes as well."""
    content = to_json(rng, damage_value(rng, value))
    return damage_bytes(rng, content) if rng.randrange(5) == 0 else content
