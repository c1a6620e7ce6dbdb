"""What all tests of the instrument have in common."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.waiting import patience

if TYPE_CHECKING:
    from collections.abc import Generator

# A run that a script starts in the background is deaf to SIGINT, and so would all its
# children be (signal(7): an ignored signal stays ignored across execve); tests press
# Ctrl-C in theirs.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# nohup does the same with SIGHUP.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# The runs that tests start have nothing to say on the page of a CI run.
os.environ.pop("GITHUB_STEP_SUMMARY", None)

# Of pytest's own limit on a test, which is meant for an idle computer.
_SPARE = 3.0
_LIMIT_S = 60.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Stretch each test's limit, so that its own deadlines expire first."""
    factor = max(_SPARE, patience())
    for item in items:
        own = item.get_closest_marker("timeout")
        limit = own.args[0] if own and own.args else _LIMIT_S
        item.add_marker(pytest.mark.timeout(limit * factor), append=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[
    None, pytest.TestReport, pytest.TestReport
]:
    """In CI, fail a test that skips for want of a program: `.ci/packages` installs it.

    What it skips for else is a matter of the computer: its user, its kernel.
    """
    report = yield
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
    if report.skipped and "not installed" in reason and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"CI is not prepared: {reason}"
    return report
