"""Every exception of the harness: the subject's and the instrument's are separate.

    Exception
    ├── HarnessError              the instrument broke: the verdict is `broken`
    │   ├── InputError            what the user gave is wrong; lists every mistake
    │   ├── HostError             this computer lacks something; says how to mend it
    │   ├── DeadlineExpired       awaited something that did not come in time
    │   ├── ProcessFailed         a helper process ended with an error
    │   ├── MachineError          a machine could not be driven any further
    │   │   ├── LaunchFailed      QEMU did not come up
    │   │   ├── MachineDied       QEMU ended while it was needed
    │   │   └── GuestPanicked     the guest kernel panicked
    │   ├── SiteDied              the site, or a helper in it, ended while needed
    │   └── NotExercised          the event under test did not happen
    └── GuestFailure              the subject failed: the verdict is `fail`
        └── CheckFailed           one or more named checks did not hold

A message has up to four parts: what went wrong or was awaited, what was seen, the last
lines of evidence, and a hint. Exceptions hold them as data; `str()` renders them.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.facts import describe

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


_MOST = 40  # mistakes that one message shows
_LONGEST = 400  # characters of one of them


class HarnessError(Exception):
    """The instrument broke; says nothing about the subject."""

    first_in: str = ""
    """The earlier test that met the same cause, where it is known."""

    def __init__(
        self,
        summary: str,
        *,
        seen: str = "",
        evidence: Sequence[str] = (),
        hint: str = "",
    ) -> None:
        super().__init__(summary)
        self.summary = summary
        self.seen = seen
        self.evidence = tuple(evidence)
        self.hint = hint

    def __str__(self) -> str:
        return render(self.summary, self.seen, self.evidence, self.hint)


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One thing wrong with what the user gave.

    `where` is a file (and line, where known), `key` the setting inside it, `value` what
    was found, `allowed` what would have been right.
    """

    where: str
    key: str
    value: str
    allowed: str

    def __str__(self) -> str:
        place = f"{self.where}: {self.key}" if self.key else self.where
        found = f" = {self.value}" if self.value else ""
        return f"{place}{found}: {self.allowed}"


class InputError(HarnessError):
    """What the user gave is wrong; every mistake is listed. Exit status 2.

    A message shows the first 40: a file of another kind has one in each line.
    """

    def __init__(
        self, summary: str, mistakes: Sequence[Mistake] = (), *, hint: str = ""
    ) -> None:
        lines = [_short(str(mistake)) for mistake in mistakes[:_MOST]]
        if more := len(mistakes) - _MOST if len(mistakes) > _MOST else 0:
            lines.append(f"and {more} more")
        super().__init__(summary, evidence=lines, hint=hint)
        self.mistakes = tuple(mistakes)


class HostError(InputError):
    """This computer lacks something that was asked for; says how to mend it."""


class DeadlineExpired(HarnessError):
    """Something awaited did not come in time."""


class ProcessFailed(HarnessError):
    """A helper process ended with an error."""


class MachineError(HarnessError):
    """A machine could not be driven any further."""


class LaunchFailed(MachineError):
    """QEMU did not come up; carries its argv, exit status and output as evidence."""


class MachineDied(MachineError):
    """QEMU ended while it was still needed."""


class GuestPanicked(MachineError):
    """The guest kernel panicked, as seen by pvpanic or on the console."""


class SiteDied(HarnessError):
    """The site, or a helper in it such as dnsmasq, ended while it was needed."""


class NotExercised(HarnessError):
    """The event under test did not happen, so nothing was proven.

    `expected` says what had to happen ("dnsmasq to restart"), `seen` what was seen in
    its place ("its PID is still 123"), as a sentence or as any fact.
    """

    def __init__(self, expected: str, *, seen: object = "") -> None:
        words = seen if isinstance(seen, str) else describe(seen)
        text = f"test precondition not met: expected {expected}"
        super().__init__(f"{text}, {words}" if words else text)
        self.expected = expected


class GuestFailure(AssertionError):
    """The subject did not do what it should; never shares a base with HarnessError."""

    def __init__(
        self,
        summary: str,
        *,
        seen: str = "",
        evidence: Sequence[str] = (),
        hint: str = "",
    ) -> None:
        super().__init__(summary)
        self.summary = summary
        self.seen = seen
        self.evidence = tuple(evidence)
        self.hint = hint

    def __str__(self) -> str:
        return render(self.summary, self.seen, self.evidence, self.hint)


class CheckFailed(GuestFailure):
    """One or more named checks of a test did not hold."""

    def __init__(self, failures: Sequence[tuple[str, str]]) -> None:
        names = ", ".join(name for name, _ in failures)
        lines = [f"{name}: {reason}" for name, reason in failures]
        super().__init__(f"failed checks: {names}", evidence=lines)
        self.failures = tuple(failures)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def near(name: object, known: Iterable[str]) -> str:
    """Return "; did you mean A, B?" for a name that is not known, or nothing."""
    names = list(known)
    close = difflib.get_close_matches(str(name), names, n=3)
    within = [each for each in names if len(str(name)) > 2 and str(name) in each]  # noqa: PLR2004 - shorter ones are in too many
    found = list(dict.fromkeys([*close, *within]))[:5]
    return f"; did you mean {', '.join(found)}?" if found else ""


def render(summary: str, seen: str, evidence: Sequence[str], hint: str) -> str:
    """Lay out the four parts of a message, leaving out the empty ones."""
    lines = [summary]
    if seen:
        lines.append(f"  seen: {seen}")
    lines.extend(f"  | {line}" for item in evidence for line in item.splitlines())
    if hint:
        lines.append(f"  hint: {hint}")
    return "\n".join(lines)
