"""Files and links that are whole at any moment, also after a crash."""

from __future__ import annotations

import _json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Plain:
    """How JSON is to be read: the defaults of `json.loads`."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


def load_json(path: str) -> Any:
    """Read a JSON file with the accelerator of the `json` module alone.

    That module itself imports regular expressions, a fifth of a second of start-up.
    """
    scan = _json.make_scanner(_Plain)  # type: ignore[arg-type]
    return scan(read(path).strip(), 0)[0]


def derivation() -> dict[str, Any]:
    """Return the attributes of the derivation that this process builds."""
    attrs: dict[str, Any] = load_json(os.environ["NIX_ATTRS_JSON_FILE"])
    return attrs


def read(path: str, default: str | None = None) -> str:
    """Return a file's text; `default`, if given, stands in for a missing one."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        if default is None:
            raise
        return default


def write_atomically(path: str, text: str, mode: int = 0o644) -> None:
    """Replace a file: the new content is on the disk before the name points to it."""
    temporary = f"{path}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    os.rename(temporary, path)


def sync_directory(path: str) -> None:
    """Make renames in a directory last."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def link_atomically(target: str, path: str) -> None:
    """Point a symbolic link at `target`, replacing what is there."""
    if os.path.islink(path) and os.readlink(path) == target:
        return
    temporary = f"{path}.tmp"
    if os.path.lexists(temporary):
        os.unlink(temporary)
    os.symlink(target, temporary)
    os.rename(temporary, path)


def ensure_directory(path: str, mode: int = 0o755) -> None:
    """Make a directory with its parents; leave an existing one alone."""
    if not os.path.isdir(path):
        os.makedirs(path, mode)
