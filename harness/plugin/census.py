"""The census: all tests of all suites, listed apart from what a run selects.

A criterion passes when every test that decides it ran, so a run of some tests has to
know of the others. A child pytest lists them while the run goes on, and writes them
into the run's journal.
"""

from __future__ import annotations

import os
import sys
from argparse import SUPPRESS
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from harness.deadline import Deadline, poll
from harness.errors import DeadlineExpired
from harness.plugin import roots
from harness.plugin.markers import optional, subject_of
from harness.process import spawn
from harness.report.journal import Journal, KnownTest, KnownTests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.plugin.options import Settings

OPTION = "--census-into"  # a journal's directory; only this file gives it
_PATIENT_S = 120.0
# What the parent's pytest says to its children; none of it is for this one.
_OF_THE_RUN = ("PYTEST_ADDOPTS", "PYTEST_XDIST", "PYTEST_CURRENT_TEST")


class Lister:
    """In the child: write the tests into the journal, run nothing."""

    def __init__(self, journals: Path) -> None:
        self.journal = Journal(journals, "census")
        self.unlisted: list[str] = []

    @pytest.hookimpl
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Remember files whose tests could not be listed."""
        if report.failed:
            self.unlisted.append(report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Write what the markers of all tests say."""
        tests = tuple(
            KnownTest(
                nodeid=item.nodeid,
                criteria=subject_of(item).criteria,
                optional=optional(item),
            )
            for item in items
        )
        self.journal.write(KnownTests(tests=tests, unlisted=tuple(self.unlisted)))


@contextmanager
def census(
    config: pytest.Config, settings: Settings, journals: Path
) -> Iterator[Callable[[], None]]:
    """List the tests of all suites for the length of the `with`; yields how to wait.

    What selects tests is not passed on; what says where tests are and how to load them
    is: root, configuration and plugins.
    """
    ini = roots.ini_of(settings.root)
    argv = [
        *(sys.executable, "-m", "pytest", "--collect-only", "-qq"),
        *("--rootdir", str(settings.root), OPTION, str(journals)),
        *(("-c", str(ini)) if ini else ()),
        *(word for name in _plugins(config) for word in ("-p", name)),
        *(str(directory) for directory in settings.suites.all if directory.is_dir()),
    ]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(_OF_THE_RUN)}
    with spawn(argv, env=kept, cwd=config.invocation_params.dir) as child:

        def wait() -> None:
            # Without an answer no criterion of the run passes; the report says so.
            with suppress(DeadlineExpired):
                deadline = Deadline.after(_PATIENT_S, "the suites' tests to be listed")
                poll(lambda: None if child.poll() is None else True, deadline)

        yield wait


def _plugins(config: pytest.Config) -> list[str]:
    return [*dict.fromkeys(config.known_args_namespace.plugins or ())]


def add_option(group: pytest.OptionGroup) -> None:
    """Add the option by which a run starts its census; it is not for users."""
    group.addoption(OPTION, metavar="DIRECTORY", help=SUPPRESS)
