"""`--list-criteria`: the register with the tests that judge each row."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

from harness.criteria import REGISTER
from harness.plugin.markers import misuse, subject_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Listing:
    """Collects tests, prints the register, runs nothing."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.text = ""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Sort the tests by what they judge; raises UsageError for misused markers."""
        if faults := misuse(items):
            raise pytest.UsageError("\n".join(faults))
        tests = defaultdict(list)
        for item in items:
            for criterion in subject_of(item).criteria:
                tests[criterion].append(item.nodeid)
        self.text = render(tests)

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
        terminalreporter.write(self.text or render({}))


def render(tests: Mapping[str, Sequence[str]]) -> str:
    """Render the register with the tests of each row."""
    lines = []
    for row in REGISTER:
        star = "*" if row.decides else " "
        lines.append(f"{star} {row.id}: {row.title}")
        lines += [f"      {nodeid}" for nodeid in tests.get(row.id, ())]
        if not tests.get(row.id):
            lines.append(
                f"      (needs {row.needs})" if row.needs else "      (no test)"
            )
    lines.append("* decides the exit status of a full run")
    return "\n".join(lines) + "\n"
