"""Files that users name, and files that a later run trusts.

`read_input` looks at what a path leads to before it reads it: a FIFO would block, and a
device would never end. `write_whole` leaves the old file or the new one, never a part.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from harness.errors import HostError, InputError, Mistake

TEXT_LIMIT = 4 << 20  # bytes; no spec, unit or fault is that long
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe, which only one process can read, once"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_ROOM = (
    "free some room there, or choose another place: HARNESS_CACHE for the cache,"
    " TMPDIR for image builds, --report-dir for reports"
)
_PLACE = (
    "make it writable, or choose another place: HARNESS_CACHE for the cache,"
    " --report-dir for reports"
)
_IN_THE_WAY = "something else is at that path: remove it, or choose another path"
_HINTS = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "raise the limit of a file's size (ulimit -f)",
    errno.EROFS: _PLACE,
    errno.EACCES: _PLACE,
    errno.EPERM: _PLACE,
    errno.ENOTDIR: _IN_THE_WAY,
    errno.EISDIR: _IN_THE_WAY,
    errno.EEXIST: _IN_THE_WAY,
    errno.ELOOP: "the symbolic link leads to itself: remove it",
    errno.ENOENT: "make it, or name another path",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close some programs: no more files can be open here",
    errno.ENOMEM: "free some memory",
    errno.EIO: "the disk is damaged: see `dmesg`",
    errno.ESTALE: "mount its file system again",
}
_OTHERWISE = "see `harness doctor`"
_NAMELESS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENOMEM}
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


def refused(error: OSError) -> HostError | None:
    """Put an error of the system about a file into words; None if it names no file.

    A full disk may name none, and is this computer's all the same.
    """
    names = [os.fsdecode(n) for n in (error.filename, error.filename2) if _is_name(n)]
    hint = _HINTS.get(error.errno or 0, "")
    if not names and error.errno not in _NAMELESS:
        return None
    place = f"{printable(names[0])}: " if names else ""
    return HostError(f"{place}{reason(error)}", hint=hint or _OTHERWISE)


def _is_name(name: object) -> bool:
    return isinstance(name, str | bytes) and bool(name)


def keep_details(text: str) -> str:
    """Write a traceback into a private directory; return where it is."""
    try:
        # mkdtemp makes it for this user alone.
        file = Path(tempfile.mkdtemp(prefix="harness-error-")) / "traceback.txt"
        file.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as lost:
        return f"the details could not be written ({reason(lost)})"
    return f"the details are in {file}; please report it"


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
