"""The pytest plugin: options, markers, fixtures; the rest registers when needed.

Loaded by an entry point of the package. A run of the instrument's own tests never opens
a report: the session plugin is registered only when something outside of `tests/` was
asked for, and opens a report only when it sees a test of a suite.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.errors import InputError
from harness.exits import Exit
from harness.outlets import Outlet, install, reopen, settle
from harness.plugin import census, places, roots
from harness.plugin.ending import SIGNALS, conclude
from harness.plugin.markers import MARKERS
from harness.plugin.options import OPTIONS, SETTINGS, Settings, is_worker, parse
from harness.plugin.refusals import refuse

if TYPE_CHECKING:
    from collections.abc import Generator

# A plugin of its own, so that fixtures may have helpers that no test sees.
pytest_plugins = ["harness.plugin.fixtures"]
STDOUT = pytest.StashKey[Outlet]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of `harness.plugin.options`."""
    group = parser.getgroup("acceptance", "acceptance of a migration on throwaway VMs")
    for option in OPTIONS:
        group.addoption(option.name, **option.keywords)
    census.add_option(group)
    parser.addini(
        places.INI,
        "directories or installed packages that --criterion and --list-criteria search",
        type="args",
        default=list(places.DEFAULT),
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    """Settle root and outputs before pytest captures any; raises UsageError."""
    reopen()
    # A caller in this process may have put a stream of its own there.
    if sys.stdout is sys.__stdout__ and "PYTEST_XDIST_WORKER" not in os.environ:
        early_config.stash[STDOUT] = install()
    roots.restart(early_config)
    yield


def pytest_configure(config: pytest.Config) -> None:
    """Register markers; register the session plugin when suites may be run."""
    for line in MARKERS:
        config.addinivalue_line("markers", line)
    if into := config.getoption(census.OPTION):
        config.pluginmanager.register(census.Lister(Path(into)), "acceptance-census")
        return
    settings = parse(config)
    refuse(config, settings)
    config.stash[SETTINGS] = settings
    if settings.list_criteria:
        from harness.plugin.listing import Listing  # noqa: PLC0415 - only when used

        config.pluginmanager.register(Listing(settings.reports), "acceptance-listing")
    elif settings.wants_suites:
        from harness.plugin.session import register  # noqa: PLC0415 - heavy

        if not is_worker(config):
            look_ahead(settings)
        register(config, settings)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_cmdline_main(
    config: pytest.Config,
) -> Generator[None, int | None, int | None]:
    """End with the exit status that the docs list, and with the line that says it."""
    if is_worker(config) or config.getoption(census.OPTION):
        return (yield)
    try:
        try:
            status = conclude(config, (yield))
        except pytest.UsageError as error:
            status = conclude(config, Exit.ERROR, "\n".join(map(str, error.args)))
        except KeyboardInterrupt:  # the second one, before the report was begun
            status = conclude(config, Exit.INTERRUPTED)
        stdout = config.stash.get(STDOUT, None)
        return status if stdout is None else settle(stdout, status)
    finally:
        if signals := config.stash.get(SIGNALS, None):
            signals.close()


def look_ahead(settings: Settings) -> None:
    """Raise UsageError before anything is built or written.

    A project without a fleet file has suites that need neither it nor machines.
    """
    if not (settings.fleet_given or settings.fleet.exists()):
        return
    from harness import reference  # noqa: PLC0415 - heavy
    from harness.fleet import load_fleet  # noqa: PLC0415 - same
    from harness.plugin.preconditions import examine  # noqa: PLC0415 - same

    try:
        examine(settings, load_fleet(settings.fleet))
    except InputError as error:
        raise pytest.UsageError(str(error)) from error
    if lacking := reference.lacking():
        lines = [f"  | {each.name}: {each.detail}: {each.mend}" for each in lacking]
        told = "\n".join(["this computer cannot launch machines", *lines])
        raise pytest.UsageError(f"{told}\n  see `harness doctor`")
