"""Find a fault by name or in a file, and refuse one that could not be judged."""

from __future__ import annotations

import importlib.util
import re
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from harness import errors
from harness.criteria import BY_ID
from harness.errors import InputError
from harness.fault import (
    benign,
    bento,
    boot,
    infect,
    ingress,
    inodes,
    lan,
    microvm,
    neighbours,
    network,
    onboarding,
    retire,
    secrets,
    sessions,
    shell,
    store,
)
from harness.fault.base import Fault

if TYPE_CHECKING:
    from types import ModuleType

_STORY = "one sentence on what goes wrong"
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_FAMILIES = (
    sessions,
    boot,
    store,
    network,
    lan,
    ingress,
    inodes,
    shell,
    neighbours,
    onboarding,
    infect,
    secrets,
    bento,
    retire,
    microvm,
    benign,
)


@cache
def built_in() -> dict[str, type[Fault]]:
    """List our own faults by name, family by family."""
    found = (kind for family in _FAMILIES for kind in _faults_of(family))
    return {kind.name: kind for kind in found}


def load(reference: str) -> Fault:
    """Make the fault that `reference` means: a built-in name, or `FILE:CLASS`.

    Raises InputError with all that is wrong.
    """
    file, colon, name = reference.rpartition(":")
    if not colon:
        kind = built_in().get(reference)
        if kind is None:
            known = ", ".join(built_in())
            raise InputError(
                f"no built-in fault is named {reference!r}; expected FILE:CLASS, as in"
                f" my_faults.py:NoDhcp, or one of: {known}"
            )
    else:
        kind = _in_file(Path(file), name)
    if faults := misfits(kind):
        raise InputError(f"fault {reference} cannot be judged", faults)
    return kind()


def misfits(kind: type[Fault]) -> list[errors.Mistake]:
    """List what keeps a fault from being judged."""
    where = kind.__qualname__
    wrong = [
        errors.Mistake(where, key, str(getattr(kind, key, "") or ""), allowed)
        for key, fine, allowed in (
            ("name", _NAME.fullmatch(kind.name), "a-z and 0-9, words joined by '-'"),
            ("docstring", kind.story(), _STORY),
            ("source", kind.benign or kind.source, "where it went wrong before"),
            ("expects", kind.benign or kind.expects, "a criterion and its checks"),
            ("criteria", not kind.benign or kind.criteria, "criteria, where benign"),
            ("expects", not (kind.benign and kind.expects), "nothing, where benign"),
        )
        if not fine
    ]
    for criterion in (*kind.expects, *kind.explained, *kind.criteria):
        if criterion not in BY_ID:
            allowed = "a criterion of the register"
            wrong.append(errors.Mistake(where, "expects", criterion, allowed))
    for criterion, names in kind.expects.items():
        if not names:
            allowed = "at least one name of a check"
            wrong.append(errors.Mistake(where, f"expects.{criterion}", "", allowed))
    return wrong


def _in_file(file: Path, name: str) -> type[Fault]:
    module = _import(file.resolve())
    kind = getattr(module, name, None)
    if not (isinstance(kind, type) and issubclass(kind, Fault)):
        known = ", ".join(k.__name__ for k in _faults_of(module)) or "none"
        raise InputError(
            f"{file} has no fault {name}",
            hint=f"subclasses of harness.fault.Fault there: {known}",
        )
    return kind


def _import(file: Path) -> ModuleType:
    if not file.is_file():
        raise InputError(f"there is no file {file}")
    name = f"harness_fault_{file.stem}_{abs(hash(file)):x}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise InputError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    # `inspect` finds the file of a class by its module, for the digest.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(
            f"{file} cannot be imported", hint=f"{type(error).__name__}: {error}"
        ) from error
    return module


def _faults_of(module: ModuleType) -> list[type[Fault]]:
    return [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type)
        and issubclass(kind, Fault)
        and kind.name
        and kind.__module__ == module.__name__
    ]
