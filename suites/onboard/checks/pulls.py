"""What decides `bento-pull`: what a pull deploys, and what it must leave alone."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from harness import (
    Budgets,
    Check,
    CommandResult,
    Generation,
    Heartbeat,
    LabState,
    Rebuild,
    SystemState,
    absent,
    contains,
    differs_from,
    heartbeat_uninterrupted,
    present,
    sessions_unchanged,
)
from suites.onboard.checks.host import lab_healthy
from suites.onboard.fleet_server import Pull

# switch-to-configuration's exit status where another one has the lock.
_LOCKED = 11
_SUCCESS = "success"
_BUILDS = "building the system configuration"


@dataclass(frozen=True, slots=True)
class Pulled:
    """The host after a pull.

    `applied` is the change that bento has recorded, `failed` the units that failed,
    `imports` how often the host's own configuration names what was pulled.
    """

    pull: Pull
    system: SystemState
    applied: str
    failed: tuple[str, ...]
    imports: str


def stays_up(pull: Pull, before: str, boot_id: str) -> Check:
    """Check that the host is in the same boot: after a reboot nothing can be judged."""
    return Check(
        "a pull does not reboot the host",
        {"boot ID": boot_id, "reset": pull.rebooted},
        {"boot ID": before, "reset": False},
        log=pull.log,
    )


def fetches(pull: Pull) -> Check:
    """Check that a pull got what the server has: it is there and knows this host."""
    return Check(
        "a pull fetches and builds what the server has",
        _lines(pull, _BUILDS),
        present(),
        of="lines of the log about a build",
        result=pull.result,
        exit_status=pull.status,
        log=pull.log,
    )


def deploys(now: Pulled, change: str) -> Iterator[Check]:
    """Check that a pull deployed a change, and that all agree on what runs."""
    pull = now.pull
    yield Check(
        "a pull survives the switch that it runs",
        {"result": pull.result, "restarted": pull.restarted, "applied": now.applied},
        {"result": _SUCCESS, "restarted": False, "applied": change},
        of="the pull's unit",
        exit_status=pull.status,
        log=pull.log,
    )
    profile = _path(now.system.profile)
    yield Check(
        "the pulled system runs and is the next to boot",
        _path(now.system.current),
        profile or "a system profile",
        of="current system",
    )
    yield Check(
        "a pull leaves no list of an interrupted switch",
        now.system.leftovers,
        absent(),
        of="lists",
    )
    yield Check(
        "the host's own configuration is the pulled one",
        now.imports,
        "1",
        of="number of lines that import it",
    )


def idles(pull: Pull, before: SystemState, after: SystemState) -> Iterator[Check]:
    """Check that a pull without news changes nothing."""
    during = "a pull without news"
    yield Check(
        "a pull without news succeeds",
        pull.result,
        _SUCCESS,
        of="result",
        log=pull.log,
    )
    yield Check(
        "a pull without news makes no generation",
        _generations(after),
        _generations(before),
        of="generations",
        during=during,
    )
    yield Check(
        "a pull without news builds nothing",
        _lines(pull, "building"),
        absent(),
        of="lines of the log about a build",
        during=during,
    )


def is_scheduled(timer: Mapping[str, str]) -> Iterator[Check]:
    """Check, by systemd's properties, that bento's timer has a next time."""
    yield Check(
        "bento's timer is active",
        timer.get("ActiveState"),
        "active",
        of="ActiveState",
    )
    yield Check(
        "the next pull is scheduled",
        timer.get("NextElapseUSecRealtime"),
        present(),
        of="NextElapseUSecRealtime",
    )


def fails_on_bad_configuration(
    during: str, now: Pulled, change: str, unit: str
) -> Iterator[Check]:
    """Check that a pull that cannot be built fails visibly and is tried again."""
    yield Check(
        "a configuration that cannot be built is tried again",
        _lines(now.pull, _BUILDS),
        present(),
        of="lines of the log about a build",
        during=during,
        log=now.pull.log,
    )
    yield _not_applied(during, now, change)
    yield Check(
        "a pull that deploys nothing fails its unit",
        now.pull.result,
        differs_from(_SUCCESS),
        of="result",
        during=during,
        exit_status=now.pull.status,
    )
    yield Check(
        "a pull that deploys nothing is among the failed units",
        now.failed,
        contains(unit),
        of="failed units",
        during=during,
    )


def leaves_system(during: str, before: SystemState, after: SystemState) -> Check:
    """Check that the generation is the same, now and for the next boot.

    Another generation may have no lab that could be asked.
    """
    seen, expected = (
        {"current system": _path(s.current), "system profile": _path(s.profile)}
        for s in (after, before)
    )
    return Check(
        "a pull that deploys nothing leaves the generation running",
        seen,
        expected,
        during=during,
    )


def leaves_lab(during: str, before: LabState, after: LabState) -> Iterator[Check]:
    """Check that a pull that deploys nothing leaves lab's process alone."""
    yield Check(
        "a pull that deploys nothing leaves lab's process alone",
        after.main_pid,
        before.main_pid,
        of="MainPID",
        during=during,
    )
    yield heals(during, after)


def keeps_sessions(
    before: LabState,
    after: LabState,
    hearts: Mapping[str, Heartbeat],
    budgets: Budgets,
) -> Iterator[Check]:
    """Check that a pull whose switch restarts lab leaves its sessions alone."""
    during = "a pull that restarts lab"
    yield sessions_unchanged(before.sessions, after.sessions, during=during)
    for name, heart in hearts.items():
        yield heartbeat_uninterrupted(name, heart, budgets, during=during)
    yield heals(during, after)


def heals(during: str, lab: LabState) -> Check:
    """Check that lab is healthy after a pull."""
    return lab_healthy("lab is healthy after a pull", lab, during)


def takes_turns(refused: CommandResult, ended: Rebuild, unit: str) -> Iterator[Check]:
    """Check that of two switches at once one goes on and one is refused.

    The first may well end with 4, because a unit failed meanwhile: the pull.
    """
    yield Check(
        "a second switch is refused",
        refused.rc,
        _LOCKED,
        of="exit status",
    )
    yield Check(
        "a refused switch names the lock",
        refused.output,
        contains("Could not acquire lock"),
        of="output",
    )
    yield Check(
        "the manual switch takes effect",
        unit,
        "active",
        of="unit that it starts",
        exit_status=ended.rc,
        output=ended.output,
    )


def loses_race(now: Pulled, change: str) -> Iterator[Check]:
    """Check that a pull that found the lock taken fails and is tried again later."""
    during = "a manual switch at the same time"
    yield Check(
        "a pull that finds the lock taken fails",
        now.pull.result,
        differs_from(_SUCCESS),
        of="result",
        during=during,
        log=now.pull.log,
    )
    yield _not_applied(during, now, change)


def _not_applied(during: str, now: Pulled, change: str) -> Check:
    return Check(
        "a failed pull does not count as applied",
        now.applied,
        differs_from(change),
        of="change that bento has recorded",
        during=during,
        log=now.pull.log,
    )


def _lines(pull: Pull, text: str) -> list[str]:
    return [line for line in pull.log.splitlines() if text in line]


def _generations(system: SystemState) -> dict[int, str]:
    return {g.number: f"{g.path}, made at {g.created}" for g in system.generations}


def _path(generation: Generation | None) -> str | None:
    return generation.path if generation else None
