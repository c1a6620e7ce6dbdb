"""Find a fault by name or in a file, and refuse one that could not be judged."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from harness import errors
from harness.errors import InputError, Mistake
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
from harness.fault.fitness import misfits
from harness.fault.foreign import faults_of, in_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.fault.base import Fault

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
    found = (kind for family in _FAMILIES for kind in faults_of(family))
    return {kind.name: kind for kind in found}


def load(reference: str) -> Fault:
    """Make the fault that `reference` means: a built-in name, or `FILE:CLASS`.

    Raises InputError with all that is wrong.
    """
    file, colon, name = reference.rpartition(":")
    if colon:
        kind = in_file(Path(file), name)
    elif reference in built_in():
        kind = built_in()[reference]
    else:
        raise InputError(
            f"no built-in fault is named {reference!r}"
            f"{errors.near(reference, built_in())}",
            hint="`harness controls --list` lists them; a fault in a file is"
            " FILE:CLASS, as in my_faults.py:NoDhcp",
        )
    if faults := misfits(kind):
        raise InputError(f"fault {reference} cannot be judged", faults)
    try:
        return kind()
    except Exception as error:
        raise InputError(
            f"fault {reference} cannot be made", hint=f"{type(error).__name__}: {error}"
        ) from error


def load_all(references: Sequence[str]) -> list[Fault]:
    """Make several faults, each once. Raises InputError with what is wrong in each."""
    found: dict[str, Fault] = {}
    mistakes: list[Mistake] = []
    for reference in references:
        try:
            fault = load(reference)
        except InputError as error:
            listed = error.mistakes or [Mistake(reference, "", "", error.summary)]
            mistakes += listed
            if not error.mistakes and error.hint:
                mistakes.append(Mistake(reference, "", "", error.hint))
            continue
        if fault.name in found:
            mistakes.append(Mistake(reference, "name", fault.name, "each fault once"))
        found[fault.name] = fault
    if mistakes:
        raise InputError("the faults cannot be injected", mistakes)
    return list(found.values())
