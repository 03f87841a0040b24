"""Files that show when a bit of them has changed: json with a digest of itself, and zip archives."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile

FIELD = "digest"
_FOLDER = 0x10  # an entry's attribute: torch's reader would give what happens to be in memory for its content
_MARK = f',\n"{FIELD}": "'
_TAIL = re.compile(r'": "[0-9a-f]{64}"\n}\n\Z')  # one changed bit leaves the mark or the tail as they were


def sealed(text: str) -> str:
    """A json object that has fields with a last one more: the SHA-256 of what is before it."""
    body = text.rstrip().removesuffix("}").rstrip()
    return f'{body}{_MARK}{_sha256(body)}"\n}}\n'


def check_seal(text: str) -> None:
    """Raises ValueError where a sealed text is not what it was; one that never was sealed passes."""
    if problem := broken_seal(text):
        raise ValueError(problem)


def broken_seal(text: str) -> str:
    """What is wrong with a sealed text, "" where nothing is."""
    body = text.rpartition(_MARK)[0]
    if not (body or _TAIL.search(text)) or text == f'{body}{_MARK}{_sha256(body)}"\n}}\n':
        return ""
    return f"is damaged: its {FIELD} is not that of its content"


def check_archive(content: bytes) -> None:
    """Raises ValueError where a zip archive, such as torch.save writes, is damaged: torch's reader does not check."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            folders = [entry.filename for entry in archive.infolist() if entry.external_attr & _FOLDER]
            bad = archive.testzip() or "".join(folders[:1])
    except Exception as error:  # damage shows itself in half a dozen types
        raise ValueError(f"damaged ({error})") from error
    if bad:
        raise ValueError(f"damaged ({bad} is not as it was written)")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
