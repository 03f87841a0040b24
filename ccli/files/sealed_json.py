"""Files that show when a bit of them has changed: JSON with a digest of itself, and zip archives."""

import hashlib
import io
import re
import zipfile
from pathlib import Path
from typing import Any

from ccli.files.plain_json import loads
from ccli.files.regular import refuse_special

FIELD = "digest"
_FOLDER = 0x10  # an entry's attribute: torch's reader would give what happens to be in memory for its content
_MARK = f',\n"{FIELD}": "'
_TAIL = re.compile(r'": "[0-9a-f]{64}"\n}\n\Z')  # one changed bit leaves the mark or the tail as they were


def sealed(text: str) -> str:
    """The text of a JSON object that is not empty, with one more field at its end: the SHA-256 of what is before it."""
    body = text.rstrip().removesuffix("}").rstrip()
    return f'{body}{_MARK}{_sha256(body)}"\n}}\n'


def check_seal(text: str) -> None:
    """Raises ValueError where a sealed text has changed; a text that was never sealed passes."""
    body = text.rpartition(_MARK)[0]
    if (body or _TAIL.search(text)) and text != f'{body}{_MARK}{_sha256(body)}"\n}}\n':
        raise ValueError(f"its {FIELD} is not that of its content")


def read_sealed(path: Path) -> Any:
    """The value of a JSON file, whose digest is checked if it has one.

    Raises:
        CcliError: the path is not of a regular file.
        OSError: the file cannot be read.
        ValueError: it is damaged, or is not JSON.
    """
    refuse_special(path)
    text = path.read_text(encoding="utf-8")
    check_seal(text)
    return loads(text)


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
