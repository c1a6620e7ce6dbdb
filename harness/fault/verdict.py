"""Caught, missed, broken, quiet or noisy: a ruling from what a finished run says.

Pure, so that a matrix can be judged again from recorded results.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.criteria import ControlVerdict, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.fault.base import Fault


@dataclass(frozen=True, slots=True)
class Seen:
    """What a run under a fault says about one criterion.

    `failed_checks` are the names of the checks that did not hold; `broken` is true when
    the instrument failed in one of its tests, with any result of the others.
    """

    criterion: str
    verdict: Verdict
    failed_checks: frozenset[str] = frozenset()
    broken: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Ruling:
    """The result of a control; `collateral` has only unexplained criteria."""

    verdict: ControlVerdict
    failed: tuple[str, ...]
    collateral: tuple[str, ...]
    check: str
    reason: str

    @property
    def good(self) -> bool:
        """Whether the fault was dealt with as it must be."""
        caught = self.verdict in {ControlVerdict.CAUGHT, ControlVerdict.QUIET}
        return caught and not self.collateral


def judge(fault: Fault, seen: Sequence[Seen]) -> Ruling:
    """Rule on a fault. A criterion counts by its named checks, never by a timeout."""
    failed = tuple(s.criterion for s in seen if s.verdict is Verdict.FAIL)
    if fault.benign:
        return _judge_benign(seen, failed)
    collateral = tuple(
        c for c in failed if c not in fault.expects and c not in fault.explained
    )
    check, verdict, reason = _caught(fault, {s.criterion: s for s in seen})
    stray = [s for s in seen if s.broken and s.criterion not in fault.expects]
    if verdict is ControlVerdict.CAUGHT and stray:
        verdict, reason = (
            ControlVerdict.BROKEN,
            f"{stray[0].criterion}: {stray[0].reason}",
        )
    return Ruling(verdict, failed, collateral, check, reason)


def _judge_benign(seen: Sequence[Seen], failed: tuple[str, ...]) -> Ruling:
    judged = [s for s in seen if s.verdict is not Verdict.NOT_RUN]
    if failed:
        first = next(s for s in seen if s.criterion == failed[0])
        check = ", ".join(sorted(first.failed_checks))
        return Ruling(ControlVerdict.NOISY, failed, (), check, first.reason)
    for one in judged:
        if one.broken or one.verdict is Verdict.BROKEN:
            return Ruling(
                ControlVerdict.BROKEN, (), (), "", f"{one.criterion}: {one.reason}"
            )
    if not judged:
        return Ruling(ControlVerdict.BROKEN, (), (), "", "nothing was judged")
    return Ruling(ControlVerdict.QUIET, (), (), "", "")


def _caught(fault: Fault, seen: dict[str, Seen]) -> tuple[str, ControlVerdict, str]:
    """Return the check that caught it, the verdict, and why it is none better."""
    caught: list[str] = []
    missed: list[str] = []
    for criterion, names in fault.expects.items():
        one = seen.get(criterion)
        if one is None or one.verdict is Verdict.NOT_RUN:
            reason = one.reason if one else "no test of it ran"
            return "", ControlVerdict.BROKEN, f"{criterion}: {reason}"
        if one.broken or one.verdict is Verdict.BROKEN:
            return "", ControlVerdict.BROKEN, f"{criterion}: {one.reason}"
        hits = sorted(names & one.failed_checks)
        if one.verdict is Verdict.FAIL and hits:
            caught.append(hits[0])
        elif one.verdict is Verdict.FAIL:
            others = ", ".join(sorted(one.failed_checks)) or "no named check"
            missed.append(f"{criterion} failed, but in another check: {others}")
        else:
            missed.append(f"{criterion} passed")
    if missed:
        return ", ".join(caught), ControlVerdict.MISSED, "; ".join(missed)
    return ", ".join(caught), ControlVerdict.CAUGHT, ""
