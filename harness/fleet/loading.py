"""From a file to a `Fleet`, or to one `InputError` that lists every mistake."""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from harness.errors import InputError, Mistake
from harness.files import printable, read_text
from harness.fleet.crosscheck import crosscheck
from harness.fleet.lines import line_of, toml_lines
from harness.fleet.models import CROSS_CHECK, Fleet

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic_core import ErrorDetails

COMPANION = "fleet.toml"
SUFFIXES = (".toml", ".json")
SHOWN = 60  # characters of a wrong value
SECRET = {"cloudInit", "userData", "networkConfig"}  # may hold passwords and keys
Where = Callable[[tuple[str, ...]], str]


def load_fleet(path: Path) -> Fleet:
    """Read a spec: TOML, or the JSON that `nix eval` prints for `cloonar.vms`.

    JSON holds only the VMs; the rest comes from a `fleet.toml` in the same directory,
    else from the defaults. Raises InputError with every mistake.
    """
    if path.suffix not in SUFFIXES:
        raise _error([Mistake(str(path), "", "", "a file named *.toml or *.json")])
    text = _read(path)
    if path.suffix == ".toml":
        return parse_toml(text, str(path))
    beside = path.with_name(COMPANION)
    companion = (_read(beside), str(beside)) if os.path.lexists(beside) else None
    return parse_nix_json(text, str(path), companion=companion)


def parse_toml(text: str, source: str = COMPANION) -> Fleet:
    """Read a spec from TOML text; `source` names it in mistakes."""
    document = _Document.toml(text, source)
    return _build(document.data, document.where)


def parse_nix_json(
    text: str,
    source: str = "vms.json",
    *,
    companion: tuple[str, str] | None = None,
) -> Fleet:
    """Read VMs from `nix eval --json` text, all else from `companion` (text, source).

    A null is an option that is not set.
    """
    vms = _Document.json(text, source)
    if companion is None:
        return _build({"vms": vms.data}, lambda _: source)
    rest = _Document.toml(*companion)

    def where(at: tuple[str, ...]) -> str:
        return source if at[:1] == ("vms",) else rest.where(at)

    return _build({**rest.data, "vms": vms.data}, where)


@dataclass(frozen=True, slots=True)
class _Document:
    """Plain data and where each key of it stands."""

    data: dict[str, Any]
    where: Where

    @classmethod
    def toml(cls, text: str, source: str) -> _Document:
        try:
            data = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise _error([_syntax(source, "TOML", error)]) from None
        lines: dict[tuple[str, ...], int] = {}

        def where(at: tuple[str, ...]) -> str:
            if not lines:
                lines.update(toml_lines(text))
            line = line_of(lines, at)
            return source if line is None else f"{source}:{line}"

        return cls(data, where)

    @classmethod
    def json(cls, text: str, source: str) -> _Document:
        try:
            data = json.loads(text, object_pairs_hook=_unique_and_set)
        except (ValueError, RecursionError) as error:
            raise _error([_syntax(source, "JSON", error)]) from None
        if not isinstance(data, dict):
            allowed = "an object of VMs, as `nix eval --json …config.cloonar.vms` gives"
            raise _error([Mistake(source, "", _show(data), allowed)])
        return cls(data, lambda _: source)


def _unique_and_set(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"the key {_show(key)} stands twice in one object")
    return {key: value for key, value in pairs if value is not None}


def _build(data: dict[str, Any], where: Where) -> Fleet:
    mistakes = [
        Mistake(where(p.at), _dotted(p.at), _show_at(data, p.at), p.allowed)
        for p in crosscheck(data)
    ]
    try:
        fleet = Fleet.model_validate(data, by_alias=True, by_name=False)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        mistakes += [_translate(d, where) for d in details if d["type"] != CROSS_CHECK]
    if mistakes:
        raise _error(list(dict.fromkeys(mistakes)))
    return fleet


def _translate(detail: ErrorDetails, where: Where) -> Mistake:
    """Put one of pydantic's errors in our four parts."""
    at = tuple(str(part) for part in detail["loc"] if part != "[key]")
    kind = detail["type"]
    shown = "" if kind == "missing" or at[-1:] == ("name",) else _shown(detail, at)
    if kind == "extra_forbidden":
        return Mistake(where(at), _dotted(at), shown, _unknown(at))
    description = _description(at)
    if kind == "rule":
        allowed = detail["msg"]
    elif kind == "missing":
        allowed = f"missing; needs {description}"
    else:
        rule = detail["msg"].replace("Input should", "should")
        allowed = f"{description} ({rule})" if description else rule
    if at[:1] == ("vms",) and at[-1:] == ("name",):
        at = at[:-1]
    return Mistake(where(at), _dotted(at), shown, allowed)


def _unknown(at: tuple[str, ...]) -> str:
    model = _model_at(at[:-1])
    if model is None:
        return "no such setting"
    known = [f.alias or name for name, f in model.model_fields.items()]
    close = difflib.get_close_matches(at[-1], known, n=1)
    if close:
        return f"no such setting; did you mean {close[0]}?"
    return f"no such setting; there are: {', '.join(known)}"


def _description(at: tuple[str, ...]) -> str:
    model = _model_at(at[:-1])
    for name, field in model.model_fields.items() if model else ():
        if at[-1] in (name, field.alias):
            return " ".join((field.description or "").split())
    return ""


def _model_at(at: tuple[str, ...]) -> type[BaseModel] | None:
    """Return the model that the path leads to, if it leads to one."""
    kind: object = Fleet
    for part in at:
        model = _as_model(kind)
        if model is None:
            kind = typing.get_args(kind)[1:2]  # a dict's value type
            kind = kind[0] if kind else None
            continue
        fields = {f.alias or n: f.annotation for n, f in model.model_fields.items()}
        kind = fields.get(part)
    return _as_model(kind)


def _as_model(kind: object) -> type[BaseModel] | None:
    members = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    for member in members:
        if isinstance(member, type) and issubclass(member, BaseModel):
            return member
    return None


def _shown(detail: ErrorDetails, at: tuple[str, ...]) -> str:
    return "" if SECRET & set(at) else _show(detail["input"])


def _show_at(data: object, at: tuple[str, ...]) -> str:
    for part in at:
        if not isinstance(data, Mapping) or part not in data:
            return ""
        data = data[part]
    return _show(data)


def _show(value: object) -> str:
    """Quote a wrong value on one printable line."""
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list):
        return "a list"
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = ascii(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def _dotted(at: tuple[str, ...]) -> str:
    return ".".join(
        part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else _show(part) for part in at
    )


def _syntax(source: str, language: str, error: Exception) -> Mistake:
    if isinstance(error, RecursionError):
        return Mistake(source, "", "", f"valid {language}, not nested that deeply")
    message = str(error)
    at = re.search(r"at line (\d+)|: line (\d+)", message)
    line = next((group for group in at.groups() if group), "") if at else ""
    place = f"{source}:{line}" if line else source
    return Mistake(place, "", "", f"valid {language} ({message})")


def _read(path: Path) -> str:
    try:
        return read_text(path)
    except InputError as error:
        raise _error(list(error.mistakes)) from None


def _error(mistakes: list[Mistake]) -> InputError:
    many = f"{len(mistakes)} mistakes" if len(mistakes) > 1 else "a mistake"
    return InputError(f"the fleet spec has {many}", [_one_line(f) for f in mistakes])


def _one_line(mistake: Mistake) -> Mistake:
    """Escape what would break the line: names come from the file, too."""
    parts = (mistake.where, mistake.key, mistake.value, mistake.allowed)
    return Mistake(*(printable(part) for part in parts))
