"""Command-line options, parsed once into frozen settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import InputError
from harness.host import Accel
from harness.plugin import places
from harness.plugin.places import SuitePlaces
from harness.plugin.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.fault import Fault


@dataclass(frozen=True, slots=True)
class Option:
    """One row of the option table."""

    name: str
    keywords: dict[str, Any]


OPTIONS = (
    Option(
        "--fleet",
        {
            "metavar": "FILE",
            "help": "spec of the fleet, TOML or `nix eval` JSON (default: fleet.toml)",
        },
    ),
    Option(
        "--accel",
        {
            "metavar": "|".join(Accel),
            "default": Accel.AUTO.value,
            "help": "auto tries KVM and falls back to TCG, kvm never does"
            " (default: auto)",
        },
    ),
    Option(
        "--guest",
        {
            "metavar": "reference|IMAGE",
            "default": "reference",
            "help": "guest image to judge (default: the embedded reference guest)",
        },
    ),
    Option(
        "--report-dir",
        {
            "metavar": "DIRECTORY",
            "help": "where reports/<run-id>/ goes (default: reports)",
        },
    ),
    Option(
        "--keep-machines",
        {
            "action": "store_true",
            "help": "hold the machines of a test that did not pass until Enter is"
            " pressed; not with -n",
        },
    ),
    Option(
        "--thorough",
        {
            "action": "store_true",
            "help": "run the tests marked thorough too; a suite or criterion that"
            " is named always runs them",
        },
    ),
    Option(
        "--criterion",
        {
            "metavar": "ID",
            "action": "append",
            "default": [],
            "help": "run the tests of this criterion, without a path from all"
            " suites; repeatable",
        },
    ),
    Option(
        "--scenario",
        {
            "metavar": "NAME",
            "action": "append",
            "default": [],
            "help": "of them run those that exercise this event; repeatable",
        },
    ),
    Option(
        "--fastest",
        {
            "action": "store_true",
            "help": "of them run the one of each criterion marked fastest",
        },
    ),
    Option(
        "--allow-partial",
        {
            "action": "store_true",
            "help": "end with 0 where tests passed and none failed, also when no"
            " criterion is decided: for `git bisect run`",
        },
    ),
    Option(
        "--must-judge",
        {
            "action": "store_true",
            "help": "end with 5 where no test of a suite judged anything; `make"
            " accept` gives it",
        },
    ),
    Option(
        "--list-criteria",
        {
            "action": "store_true",
            "help": "print all criteria with their tests and faults, run nothing",
        },
    ),
    Option(
        "--adopt-unit",
        {
            "metavar": "FILE",
            "action": "append",
            "default": [],
            "help": "start a VM by this systemd unit; repeatable, as `harness adopt`"
            " does",
        },
    ),
    Option(
        "--adopt-vm",
        {
            "metavar": "NAME",
            "help": "the VM that these units start (default: dev)",
        },
    ),
    Option(
        "--fault",
        {
            "metavar": "NAME|FILE:CLASS",
            "help": "inject a fault: a built-in one by its name, or a class",
        },
    ),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line asked for."""

    root: Path
    paths: tuple[Path, ...]
    suites: SuitePlaces
    fleet: Path
    fleet_given: bool
    accel: Accel
    guest: str
    reports: Path
    keep_machines: bool
    list_criteria: bool
    selected: Selection
    fault: Fault | None
    units: tuple[Path, ...]
    adopted: str
    wants_suites: bool
    thorough: bool
    full: bool
    """Whether every suite is to run, so that the five decide the exit status."""
    listed: bool
    """Whether it collects every test there is, with the project's own configuration."""
    selection: str
    allow_partial: bool
    must_judge: bool


SETTINGS = pytest.StashKey[Settings]()

# Each of these runs less than everything.
_NARROWING = {
    "-k": "keyword",
    "-m": "markexpr",
    "--deselect": "deselect",
    "--ignore": "ignore",
    "--ignore-glob": "ignore_glob",
    "--lf": "lf",
    "--stepwise": "stepwise",
    "--collect-only": "collectonly",
}


def parse(config: pytest.Config) -> Settings:
    """Turn options into settings. Raises UsageError."""
    root = config.rootpath
    suites = SuitePlaces.of(root, config.getini(places.INI))
    listing = bool(config.getoption("--list-criteria"))
    selected = Selection(
        tuple(config.getoption("--criterion")),
        tuple(config.getoption("--scenario")),
        bool(config.getoption("--fastest")),
    )
    pathless = config.args_source is not pytest.Config.ArgsSource.ARGS
    if pathless and (listing or selected):
        config.args = [_shown(config, directory) for directory in suites.all]
    paths = [places.path_of(config, arg) for arg in config.args]
    narrowed = [f for f, name in _NARROWING.items() if config.getoption(name, None)]
    whole = not selected and suites.covered_by(paths)
    return Settings(
        root=root,
        paths=tuple(paths),
        suites=suites,
        fleet=_given(config, "--fleet", root / "fleet.toml"),
        fleet_given=config.getoption("--fleet") is not None,
        accel=_accel(config),
        guest=str(config.getoption("--guest")),
        reports=_given(config, "--report-dir", root / "reports"),
        keep_machines=bool(config.getoption("--keep-machines")),
        list_criteria=listing,
        selected=selected,
        fault=_fault(config),
        units=tuple(
            (config.invocation_params.dir / file).absolute()
            for file in config.getoption("--adopt-unit")
        ),
        adopted=str(config.getoption("--adopt-vm") or "dev"),
        thorough=bool(config.getoption("--thorough")) or not whole,
        wants_suites=any(
            not path.is_relative_to(root / "tests") or suites.touched_by(path)
            for path in paths
        ),
        full=whole and not narrowed,
        listed=whole and not narrowed and not any(map(config.getoption, _CONFIGURING)),
        allow_partial=bool(config.getoption("--allow-partial")),
        must_judge=bool(config.getoption("--must-judge")),
        selection=_selection(config, narrowed, selected),
    )


# With these a run of all suites may see fewer tests than there are.
_CONFIGURING = ("inifilename", "override_ini")


def distributed(config: pytest.Config) -> bool:
    """Whether this process hands its tests out to xdist workers."""
    return not is_worker(config) and config.getoption("dist", "no") != "no"


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is an xdist worker."""
    return hasattr(config, "workerinput")


def _given(config: pytest.Config, option: str, default: Path) -> Path:
    given = config.getoption(option)
    return (config.invocation_params.dir / given).absolute() if given else default


def _accel(config: pytest.Config) -> Accel:
    given = str(config.getoption("--accel"))
    if given not in set(Accel):
        raise pytest.UsageError(f"--accel {given}: one of {', '.join(Accel)}")
    return Accel(given)


def _fault(config: pytest.Config) -> Fault | None:
    given = config.getoption("--fault")
    if not given:
        return None
    from harness.fault import load  # noqa: PLC0415 - faults bring the rooms below along

    try:
        return load(given)
    except InputError as error:
        raise pytest.UsageError(f"--fault {given}: {error}") from error


def _shown(config: pytest.Config, directory: Path) -> str:
    """Name a directory as a user would give it, for reports show it."""
    here = config.invocation_params.dir
    return str(
        directory.relative_to(here) if directory.is_relative_to(here) else directory
    )


def _selection(
    config: pytest.Config, narrowed: Sequence[str], selected: Selection
) -> str:
    options = [f"{f} {config.getoption(_NARROWING[f])}" for f in narrowed]
    return " ".join([*config.args, *([str(selected)] if selected else []), *options])
