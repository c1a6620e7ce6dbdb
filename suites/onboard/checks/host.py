"""What decides `onboard-host-config` and `forgejo-mcp-reach`: the plan's hosts/dev."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness import (
    Check,
    CommandResult,
    Endpoint,
    Fleet,
    LabState,
    absent,
    contains,
    present,
    starts_with,
)

# lab-v0's unit in systemd's words (coding-lab, docs/reference/lab-v0).
_LAB_UNIT = {
    "KillMode": "process",
    "Type": "simple",
    "Restart": "on-failure",
    "RestartUSec": "5s",
    "Delegate": "no",
}
_RELEASE = "25.11"
_TIMERS = ("nix-gc.timer", "bento-upgrade.timer")


@dataclass(frozen=True, slots=True)
class Host:
    """What the onboarded host has.

    `units` are those that systemd has loaded, `bento` the text of the programs that
    bento's unit runs, `account` the lab user's line in the passwd database, `version`
    the output of `nixos-version`, `state_version` the value of system.stateVersion.
    """

    units: Sequence[str]
    failed: Sequence[str]
    bento: str
    account: str
    version: str
    state_version: object


def lab_unit(lab: LabState, user: str) -> Iterator[Check]:
    """Check lab's unit, as systemd has loaded it, for what sessions depend on."""
    for key, value in _LAB_UNIT.items():
        yield Check(f"lab has {key}={value}", lab.properties.get(key), value, of=key)
    yield Check("lab runs as its own user", lab.properties.get("User"), user, of="User")
    yield Check(
        "lab runs from the store",
        lab.exec_start,
        starts_with("/nix/store/"),
        of="program",
    )
    yield lab_healthy("lab is healthy after onboarding", lab)


def lab_healthy(name: str, lab: LabState, during: str = "") -> Check:
    """Check that lab is active and that its page names its sessions."""
    expected = {"unit": "active", "HTTP status": 200, "sessions not listed": ()}
    seen = (lab.active_state, lab.status, lab.unlisted)
    parts = dict(zip(expected, seen, strict=True))
    return Check(name, parts, expected, of="lab", during=during)


def host_configuration(host: Host, user: str) -> Iterator[Check]:
    """Check the host against the plan: timers, a bento without reboots, no borg."""
    timers = [unit for unit in host.units if unit.endswith(".timer")]
    for name in _TIMERS:
        yield Check(f"{name} is loaded", timers, contains(name), of="loaded timers")
    yield Check(
        "no unit of a borg backup is loaded",
        [unit for unit in host.units if "borg" in unit],
        absent(),
        of="loaded units named borg",
    )
    lines = [line.strip() for line in host.bento.splitlines()]
    yield Check(
        "bento deploys with nixos-rebuild switch",
        [line for line in lines if "nixos-rebuild switch" in line],
        present(),
        of="lines of its programs with that command",
    )
    yield Check(
        "bento has reboots off",
        [line for line in lines if "systemctl reboot" in line],
        absent(),
        of="lines of its programs with systemctl reboot",
    )
    yield Check(
        "lab's user exists", host.account, starts_with(f"{user}:"), of="account"
    )
    yield Check(
        "the host runs the NixOS release of the plan",
        host.version,
        starts_with(_RELEASE),
        of="nixos-version",
    )
    yield Check(
        "stateVersion is the release of the conversion",
        host.state_version,
        _RELEASE,
        of="system.stateVersion",
    )
    yield Check("no unit of the host failed", host.failed, absent(), of="failed units")


def services_named(fleet: Fleet) -> Check:
    """Check that the spec names a service, or nothing would be asked."""
    named = list(fleet.network.services)
    return Check("the spec names services", named, present(), of="[network.services]")


def answers(name: str, endpoint: Endpoint, asked: CommandResult) -> Check:
    """Check that a service answers a GET from dev."""
    return Check(
        f"{name} answers with HTTP status 200",
        asked.stdout.partition("\n")[0],
        contains(" 200 "),
        of="status line",
        during=f"GET / from {endpoint.ip}:{endpoint.port}",
        exit_status=asked.rc,
        error=asked.stderr,
    )
