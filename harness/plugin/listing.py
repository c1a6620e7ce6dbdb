"""`--list-criteria`: the register with each row's tests, scenarios and faults."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from harness.criteria import REGISTER
from harness.fault import built_in
from harness.plugin.markers import Subject, misuse, subject_of
from harness.report.history import rulings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from harness.criteria import Criterion

_INDENT = " " * 6
_WIDTH = 88
_NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Register:
    """The tests and faults of each row, and how the faults last ended.

    `verdicts` has only the faults that were run into this project's reports.
    """

    tests: Mapping[str, Sequence[Subject]]
    faults: Mapping[str, Sequence[str]] = field(default_factory=dict)
    verdicts: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, items: Sequence[pytest.Item], reports: Path) -> Register:
        """Sort tests and faults by what they are about."""
        tests, faults = defaultdict(list), defaultdict(list)
        for subject in map(subject_of, items):
            for criterion in subject.criteria:
                tests[criterion].append(subject)
        for name, fault in built_in().items():
            for criterion in fault.expects:
                faults[criterion].append(name)
        return cls(tests, faults, rulings(reports))

    def render(self) -> str:
        """Render all rows."""
        lines = [line for row in REGISTER for line in self._row(row)]
        lines.append("* decides the exit status of a full run")
        return "\n".join(lines) + "\n"

    def _row(self, row: Criterion) -> Iterator[str]:
        yield f"{'*' if row.decides else ' '} {row.id}: {row.title}"
        yield from _wrapped(f"decided by {row.decided_by}")
        tests = self.tests.get(row.id, ())
        yield from (_INDENT + _line(row.id, test) for test in tests)
        if not tests:
            yield _INDENT + (f"({row.needs})" if row.needs else "(no test)")
        if faults := self.faults.get(row.id):
            yield from _wrapped(self._detects(faults))

    def _detects(self, faults: Sequence[str]) -> str:
        """Name the faults that the tests must detect, and whether they last did."""
        must = f"must detect {len(faults)} faults"
        groups = defaultdict(list)
        for name in faults:
            groups[self.verdicts.get(name, _NOT_RUN)].append(name)
        if [*groups] == [_NOT_RUN]:
            return f"{must}: {', '.join(faults)}"
        ended = (
            f"{len(groups[verdict])} {verdict}: {', '.join(groups[verdict])}"
            for verdict in sorted(groups)
        )
        return f"{must}, in the last run here {'; '.join(ended)}"


def _line(criterion: str, test: Subject) -> str:
    words = [*test.scenarios, *(["fastest"] if criterion in test.fastest else [])]
    return f"{test.nodeid} ({', '.join(words)})" if words else test.nodeid


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=_INDENT,
        subsequent_indent=_INDENT + "  ",
        break_on_hyphens=False,
    )


class Listing:
    """Collects tests, prints the register, runs nothing."""

    def __init__(self, reports: Path) -> None:
        self.reports = reports
        self.register = Register({})

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Sort the tests by what they judge; raises UsageError for misused markers."""
        if faults := misuse(items):
            raise pytest.UsageError("\n".join(faults))
        self.register = Register.of(items, self.reports)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Run nothing, unless files could not even be listed."""
        return None if session.testsfailed else True

    @pytest.hookimpl
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Call a register without any test a success too."""
        if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            session.exitstatus = pytest.ExitCode.OK

    @pytest.hookimpl
    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> None:
        """Print the register."""
        terminalreporter.section("register of criteria")
        terminalreporter.write(self.register.render())
