"""How a test ended: the subject failed, or the instrument did."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from harness.criteria import Outcome
from harness.errors import CheckFailed, GuestFailure, HarnessError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.criteria import RanOutcome

_TIMEOUT = re.compile(r"^Timeout \(>([\d.]+)s\) from pytest-timeout")


@dataclass(frozen=True, slots=True)
class Phase:
    """How setup, call or teardown ended; `panic` is a kernel panic that ended it."""

    name: str
    ended: RanOutcome
    reason: str = ""
    panic: bool = False


def classify(error: BaseException) -> RanOutcome:
    """Distinguish the subject's failures from the instrument's, by type alone.

    An assertion is a statement about the subject wherever it is made. Every other
    exception, a timeout included, is the instrument's.
    """
    if isinstance(error, BaseExceptionGroup):
        return classify(error.exceptions[0])
    if isinstance(error, pytest.skip.Exception):
        return Outcome.SKIPPED
    if isinstance(error, AssertionError):
        return Outcome.FAILED
    if isinstance(error, pytest.fail.Exception) and not _TIMEOUT.match(str(error)):
        return Outcome.FAILED
    return Outcome.BROKEN


def explain(error: BaseException) -> str:
    """Say why, first line first: a report may have room for no more."""
    if isinstance(error, BaseExceptionGroup):
        return "\n".join(explain(e) for e in error.exceptions)
    if isinstance(error, CheckFailed):
        name, reason = error.failures[0]
        more = len(error.failures) - 1
        first = f"{name}: {reason}".splitlines()[0] + (
            f" (+{more} more)" if more else ""
        )
        return f"{first}\n{error}"
    if isinstance(error, (HarnessError, GuestFailure)):
        text = str(error)
    elif timeout := _TIMEOUT.match(str(error)):
        text = f"took longer than its timeout of {float(timeout.group(1)):g} s"
    elif isinstance(error, (AssertionError, pytest.fail.Exception)):
        text = str(error) or type(error).__name__
    elif isinstance(error, pytest.FixtureLookupError):
        text = f"no fixture is named {error.argname}"
    else:
        text = f"{type(error).__name__}: {error}"
    notes = [note for note in getattr(error, "__notes__", ()) if note]
    return "\n".join([text, *notes])


def combine(phases: Sequence[Phase]) -> Phase:
    """Give the outcome of a whole test: the first phase that did not pass counts.

    So a failed check stays `failed` when tearing down breaks afterwards; the reason
    then has both.
    """
    ended = [phase for phase in phases if phase.ended is not Outcome.PASSED]
    if not ended:
        return Phase("call", Outcome.PASSED)
    first, *later = ended
    reason = first.reason
    for phase in later:
        reason += f"\nthen {phase.name} {phase.ended}: {phase.reason}"
    # A skip says nothing about what went wrong when cleaning up after it.
    worst = next((p for p in ended if p.ended is not Outcome.SKIPPED), first)
    return Phase(first.name, worst.ended, reason)
