"""The line of each key in a TOML document."""

from __future__ import annotations

import tomllib
from typing import TypeAlias

Path: TypeAlias = tuple[str, ...]


def toml_lines(text: str) -> dict[Path, int]:
    """Map every key path of a valid TOML document to its line, counted from 1.

    A TOML statement ends with a line, and no beginning of one is valid alone; so
    the shortest run of lines that parses is a statement, and the real parser says what
    it sets.
    """
    found: dict[Path, int] = {}
    table: Path = ()
    pending: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        pending.append(line)
        try:
            statement = tomllib.loads("\n".join(pending))
        except ValueError:
            continue
        first = number - len(pending) + 1
        if statement and pending[0].lstrip().startswith("["):
            table = _deepest(statement)
            _note(found, (), statement, first)
        else:
            _note(found, table, statement, first)
        pending = []
    return found


def line_of(lines: dict[Path, int], at: Path) -> int | None:
    """Return the line of the key, or of the nearest table around it."""
    for end in range(len(at), 0, -1):
        if at[:end] in lines:
            return lines[at[:end]]
    return None


def _deepest(statement: dict[str, object]) -> Path:
    path: list[str] = []
    level: object = statement
    while isinstance(level, dict) and level:
        key = next(iter(level))
        path.append(key)
        level = level[key]
    return tuple(path)


def _note(found: dict[Path, int], base: Path, level: object, line: int) -> None:
    if not isinstance(level, dict):
        return
    for key, value in level.items():
        found.setdefault((*base, key), line)
        _note(found, (*base, key), value, line)
