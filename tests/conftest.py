"""What all tests of the instrument have in common."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

# A run that a script starts in the background is deaf to SIGINT, and so would all its
# children be (signal(7): an ignored signal stays ignored across execve); tests press
# Ctrl-C in theirs.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
