"""Facts: values that decide a check, in a plain form, and their words.

`plain` turns a value into what JSON can hold; `describe` puts it into words. Both know
types, so that no report shows a Python repr. Imports nothing of the harness.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import PurePath
from typing import Any, Protocol, Self, runtime_checkable

Plain = None | bool | int | float | str | list[Any] | dict[str, Any]
INFINITE = "infinite"  # JSON has no number for it
SHARE = "share"  # a unit: 0.5 is shown as 50 %

_MOST_ITEMS = 8
_MOST_TEXT = 400
_MOST_LINES = 6
_UNITS = (
    (r"_ms$", "ms"),
    (r"_s$", "s"),
    (r"_mib$", "MiB"),
    (r"(^|_)(share|error)(_|$)", SHARE),
    (r"^bytes_", "bytes"),
    (r"^inode_generations_", "generations"),
    (r"^inode_", "inodes"),
)


@runtime_checkable
class HasFact(Protocol):
    """A value that says itself what identifies it, as named parts."""

    def fact(self) -> Mapping[str, object]:
        """Return the parts that identify it."""
        ...


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with its unit, such as `Quantity(12.3, "s")`."""

    value: float
    unit: str

    def fact(self) -> Mapping[str, object]:
        """Return value and unit, which `describe` puts into one word."""
        return {"value": self.value, "unit": self.unit}


class Limit(float):
    """A threshold of the spec's [budgets], which knows its name and unit."""

    name: str
    unit: str

    def __new__(cls, value: float, name: str) -> Self:
        """Make a number that behaves as any other."""
        limit = super().__new__(cls, value)
        limit.name = name
        limit.unit = unit_of(name)
        return limit


def unit_of(budget: str) -> str:
    """Return the unit that a budget's name carries; empty for a bare number."""
    return next((unit for pattern, unit in _UNITS if re.search(pattern, budget)), "")


def plain(value: object) -> Plain:
    """Turn a value into what JSON holds. Raises TypeError for what has no plain form.

    Sets are sorted; dataclasses become their fields, or what their `fact()` returns.
    """
    match value:
        case Enum():
            return plain(value.value)
        case None | bool() | int() | str():
            return value
        case float():
            return float(value) if math.isfinite(value) else INFINITE
        case PurePath() | IPv4Address() | IPv4Network() | IPv4Interface():
            return str(value)
        case _:
            return _compound(value)


def _compound(value: object) -> Plain:
    if isinstance(value, HasFact) and not isinstance(value, type):
        return plain(value.fact())
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, AbstractSet):
        return sorted((plain(item) for item in value), key=str)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        names = getattr(value, "_fields", None)  # a NamedTuple's
        items = [plain(item) for item in value]
        return dict(zip(names, items, strict=True)) if names else items
    raise TypeError(f"a {type(value).__name__} has no plain form: give it fact()")


def describe(value: object, unit: str = "") -> str:
    """Put a value into words: one line, never empty, never a repr."""
    match plain(value):
        case None:
            return "none"
        case bool(truth):
            return "yes" if truth else "no"
        case str(text):
            return _text(text)
        case list(items):
            return _joined([describe(item, unit) for item in items])
        case dict(parts):
            return _parts(parts)
        case number:
            return with_unit(number, unit)


def _parts(parts: Mapping[str, Plain]) -> str:
    if parts.keys() == {"value", "unit"}:  # a Quantity
        return describe(parts["value"], str(parts["unit"]))
    return _joined([f"{key} {_part(item)}" for key, item in parts.items()])


def _part(value: Plain) -> str:
    words = describe(value)
    return f"({words})" if isinstance(value, dict | list) and value else words


def with_unit(number: float, unit: str) -> str:
    """Write a number with as many digits as people read, and its unit."""
    if unit == SHARE:
        return f"{_digits(number * 100)} %"
    return f"{_digits(number)} {unit}".strip()


def _digits(number: float) -> str:
    if isinstance(number, int) or float(number).is_integer():
        return str(int(number))
    return f"{number:.0f}" if abs(number) >= 1000 else f"{number:.3g}"  # noqa: PLR2004 - as people read them


def _joined(items: Sequence[str]) -> str:
    if not items:
        return "none"
    more = len(items) - _MOST_ITEMS
    shown = ", ".join(items[:_MOST_ITEMS])
    return f"{shown} and {more} more" if more > 0 else shown


def _text(text: str) -> str:
    """Quote a text that has spaces; keep the end of a long one."""
    # A terminal's screen is padded with spaces.
    padded = [line.rstrip() for line in text.strip().splitlines() if line.strip()]
    lines = [re.sub(r" {3,}", "  ", line) for line in padded]
    if not lines:
        return "empty"
    whole = " ⏎ ".join(lines[-_MOST_LINES:])
    cut = len(lines) > _MOST_LINES or len(whole) > _MOST_TEXT
    shown = f"…{whole[-_MOST_TEXT:]}" if cut else whole
    return f'"{shown}"' if re.search(r"\s", shown) else shown
