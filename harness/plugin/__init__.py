"""The pytest plugin: options, markers, fixtures; the rest registers when needed.

Loaded by an entry point of the package. A run of the instrument's own tests never opens
a report: the session plugin is registered only when something outside of `tests/` was
asked for, and opens a report only when it sees a test of a suite.
"""

from __future__ import annotations

import pytest

from harness.errors import InputError
from harness.plugin import places
from harness.plugin.markers import MARKERS
from harness.plugin.options import OPTIONS, SETTINGS, Settings, is_worker, parse

_BAD_INPUT = 2  # as every command of `harness` ends on it

# A plugin of its own, so that fixtures may have helpers that no test sees.
pytest_plugins = ["harness.plugin.fixtures"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of `harness.plugin.options`."""
    group = parser.getgroup("acceptance", "acceptance of a migration on throwaway VMs")
    for option in OPTIONS:
        group.addoption(option.name, **option.keywords)
    parser.addini(
        places.INI,
        "directories or installed packages that --criterion and --list-criteria search",
        type="args",
        default=list(places.DEFAULT),
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register markers; register the session plugin when suites may be run."""
    for line in MARKERS:
        config.addinivalue_line("markers", line)
    settings = parse(config)
    config.stash[SETTINGS] = settings
    if settings.list_criteria:
        from harness.plugin.listing import Listing  # noqa: PLC0415 - only when used

        config.pluginmanager.register(Listing(settings.reports), "acceptance-listing")
    elif settings.wants_suites:
        from harness.plugin.session import register  # noqa: PLC0415 - heavy

        if not is_worker(config):
            refuse(settings)
        register(config, settings)


def refuse(settings: Settings) -> None:
    """End with status 2 and one message, before anything is built or written.

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
        pytest.exit(str(error), returncode=_BAD_INPUT)
    if lacking := reference.lacking():
        lines = [f"  | {each.name}: {each.detail}: {each.mend}" for each in lacking]
        told = "\n".join(["this computer cannot launch machines", *lines])
        pytest.exit(f"{told}\n  see `harness doctor`", returncode=_BAD_INPUT)
