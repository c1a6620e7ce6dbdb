"""Options that mean nothing in a combination: refused, never ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness import criteria

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from harness.plugin.options import Settings

# What only tests of suites use.
_OF_SUITES = {
    "--fleet": "fleet",
    "--fault": "fault",
    "--guest": "guest",
    "--accel": "accel",
    "--report-dir": "report_dir",
    "--keep-machines": "keep_machines",
    "--thorough": "thorough",
    "--adopt-unit": "adopt_unit",
    "--allow-partial": "allow_partial",
    "--must-judge": "must_judge",
}
_OF_SELECTIONS = {
    "--criterion": "criterion",
    "--scenario": "scenario",
    "--fastest": "fastest",
}
# These run fixtures, or nothing, and would call each test passed.
_BODILESS = {"--setup-only": "setuponly", "--setup-plan": "setupplan"}


def refuse(config: pytest.Config, settings: Settings) -> None:
    """Raise UsageError with every combination that means nothing."""
    if config.option.help:  # pytest then knows of no path
        return
    if said := list(_problems(config, settings)):
        raise pytest.UsageError("\n".join(said))


def _problems(config: pytest.Config, settings: Settings) -> Iterator[str]:
    if foreign := criteria.unknown(settings.selected.criteria):
        known = ", ".join(criteria.BY_ID)
        yield f"--criterion {', '.join(foreign)}: no row of the register: {known}"
    if config.getoption("--adopt-vm") is not None and not settings.units:
        yield "--adopt-vm means nothing without --adopt-unit"
    if settings.list_criteria:
        yield from _listing(config)
    elif not settings.wants_suites:
        yield from _nothing_judged(config)
    elif given := _given(config, _BODILESS):
        yield f"{given}: it runs no test, so nothing would be judged"
    if _distributed(config) and settings.keep_machines:
        yield "--keep-machines needs the terminal that -n takes away: leave out -n"
    if settings.must_judge:
        yield from _overlapping(config, settings.paths)


def _listing(config: pytest.Config) -> Iterator[str]:
    if _distributed(config):
        yield "--list-criteria runs nothing: leave out -n"
    unused = {k: v for k, v in _OF_SUITES.items() if k != "--report-dir"}
    if given := _given(config, unused | _OF_SELECTIONS):
        yield f"--list-criteria lists everything and runs nothing: leave out {given}"


def _nothing_judged(config: pytest.Config) -> Iterator[str]:
    if given := _given(config, _OF_SUITES):
        named = " ".join(config.args)
        yield f"{given}: this run has no test of a suite, only {named}"


def _overlapping(config: pytest.Config, paths: Sequence[Path]) -> Iterator[str]:
    for path, arg in zip(paths, config.args, strict=True):
        above = [p for p in paths if p != path and path.is_relative_to(p)]
        if above:
            yield (
                f"{arg} is in {above[0].name}, all of which runs:"
                f" name suites by make's variable, SUITES='{arg}'"
            )


def _given(config: pytest.Config, options: dict[str, str]) -> str:
    """Name those options that differ from their default."""
    defaults = {"accel": "auto", "guest": "reference"}
    return ", ".join(
        option
        for option, name in options.items()
        if (value := config.getoption(name, None)) and value != defaults.get(name)
    )


def _distributed(config: pytest.Config) -> bool:
    # An xdist worker has the option too.
    worker = hasattr(config, "workerinput")
    return not worker and config.getoption("dist", "no") != "no"
