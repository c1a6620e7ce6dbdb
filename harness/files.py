"""Files that users name, and files that a later run trusts.

`read_input` looks at what a path leads to before it reads it: a FIFO would block, and a
device would never end. `write_whole` leaves the old file or the new one, never a part.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from harness.errors import InputError, Mistake

if TYPE_CHECKING:
    from pathlib import Path

TEXT_LIMIT = 4 << 20  # bytes; no spec, unit or fault is that long
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe, which only one process can read, once"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_ENOUGH = 64  # bytes at the start of a file that show UTF-16


def read_input(path: Path, limit: int = TEXT_LIMIT) -> bytes:
    """Read a regular file of at most `limit` bytes. Raises InputError."""
    try:
        # Before it is opened: to open some devices is to use them.
        _regular(path, path.stat().st_mode)
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:  # noqa: PTH123 - a descriptor
            _regular(path, os.fstat(handle).st_mode)
            content = file.read(limit + 1)
    except (OSError, ValueError) as error:
        raise unfit(path, f"a readable file ({reason(error)})") from None
    if len(content) > limit:
        raise unfit(path, f"at most {limit} bytes")
    return content


def read_text(path: Path, limit: int = TEXT_LIMIT) -> str:
    """Read a text in UTF-8; line endings as they are. Raises InputError."""
    content = read_input(path, limit)
    if content.startswith(_UTF8_MARK):
        raise unfit(path, "UTF-8 text without a byte-order mark, with which it begins")
    if _is_utf16(content):
        raise unfit(path, "UTF-8 text; it is UTF-16")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise unfit(path, f"UTF-8 text (byte {error.start} is not)") from None
    if (at := text.find("\0")) >= 0:
        line = text.count("\n", 0, at) + 1
        raise unfit(path, f"text (line {line} holds a NUL byte)")
    return text


def unfit(path: Path, allowed: str) -> InputError:
    """Return the error about one file that cannot be used; `allowed` is what can."""
    mistake = Mistake(printable(str(path)), "", "", allowed)
    return InputError("a file cannot be used", [mistake])


def reason(error: Exception) -> str:
    """Say why the system refused a file, in the system's words."""
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return words[:1].lower() + words[1:]


def printable(text: str) -> str:
    """Escape what would break the line that a text is shown on."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file beside its place, flush it to the disk, and rename it there.

    After a crash or a power cut the path leads to the old file or the whole new one.
    """
    data = content.encode() if isinstance(content, str) else content
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
    flush(path.parent)


def flush(path: Path) -> None:
    """Wait until a file's content, or a directory's entries, are on the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def flush_tree(directory: Path) -> None:
    """Wait until all that a directory holds is on the disk."""
    for each in directory.rglob("*"):
        if not each.is_symlink() and (each.is_file() or each.is_dir()):
            flush(each)
    flush(directory)


def _regular(path: Path, mode: int) -> None:
    for is_kind, name in _KINDS:
        if is_kind(mode):
            raise unfit(path, f"a regular file; it is {name}")


def _is_utf16(content: bytes) -> bool:
    """Detect UTF-16 by its mark, or by every other byte of ASCII text being NUL."""
    head = content[:_ENOUGH]
    halves = (head[::2], head[1::2])
    plain = len(head) > 1 and any(half and not any(half) for half in halves)
    return content.startswith(_UTF16_MARKS) or (plain and any(head))
