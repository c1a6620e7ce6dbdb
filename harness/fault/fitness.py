"""What keeps a fault from being judged, as mistakes in its class."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness import errors
from harness.criteria import BY_ID, StageName

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.fault.base import Fault

_STORY = "one sentence on what goes wrong"
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_COLLECTION = (tuple, list, set, frozenset)
_TYPES: tuple[tuple[str, tuple[type, ...], str], ...] = (
    ("name", (str,), "a text: a-z and 0-9, words joined by '-'"),
    ("source", (str,), "a text: where it went wrong before"),
    ("expects", (Mapping,), "a mapping of criteria to names of checks"),
    ("explained", (Mapping,), "a mapping of criteria to reasons"),
    ("criteria", (tuple, list), "a tuple of criteria"),
    ("scenario", (str, tuple, list), "a text, or a tuple of texts"),
    ("machines", _COLLECTION, "a frozenset of names"),
    ("after", (str,), f"one of: {', '.join(StageName)}"),
    ("benign", (bool,), "True or False"),
    ("microvm", (bool,), "True or False"),
    ("fast", (bool,), "True or False"),
)


def misfits(kind: type[Fault]) -> list[errors.Mistake]:
    """List what keeps a fault from being judged."""
    where = kind.__qualname__
    wrong = [
        errors.Mistake(where, key, type(getattr(kind, key)).__name__, allowed)
        for key, types, allowed in _TYPES
        if not isinstance(getattr(kind, key), types)
    ]
    if wrong:  # the rest expects these types
        return wrong
    return [*_values(kind), *_criteria(kind), *_expected(kind)]


def _values(kind: type[Fault]) -> Iterator[errors.Mistake]:
    for key, fine, allowed in (
        ("name", _NAME.fullmatch(kind.name), "a-z and 0-9, words joined by '-'"),
        ("docstring", kind.story(), _STORY),
        ("source", kind.benign or kind.source, "where it went wrong before"),
        ("expects", kind.benign or kind.expects, "a criterion and its checks"),
        ("criteria", not kind.benign or kind.criteria, "criteria, where benign"),
        ("expects", not (kind.benign and kind.expects), "nothing, where benign"),
        ("after", kind.after in set(StageName), f"one of: {', '.join(StageName)}"),
    ):
        if not fine:
            value = str(getattr(kind, key, "") or "")
            yield errors.Mistake(kind.__qualname__, key, value, allowed)


def _criteria(kind: type[Fault]) -> Iterator[errors.Mistake]:
    for key in ("expects", "explained", "criteria"):
        for criterion in getattr(kind, key):
            if criterion not in BY_ID:
                allowed = f"a criterion of the register{errors.near(criterion, BY_ID)}"
                yield errors.Mistake(kind.__qualname__, key, str(criterion), allowed)


def _expected(kind: type[Fault]) -> Iterator[errors.Mistake]:
    for criterion, names in kind.expects.items():
        texts = isinstance(names, _COLLECTION) and all(
            isinstance(n, str) for n in names
        )
        if not (texts and names):
            key = f"expects.{criterion}"
            allowed = "a set with at least one name of a check"
            yield errors.Mistake(kind.__qualname__, key, "", allowed)
