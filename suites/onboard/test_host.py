"""`onboard-host-config` and `forgejo-mcp-reach`: what the plan says of hosts/dev."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from harness import Fleet, Machine, Recorder, Site

pytestmark = pytest.mark.stage("onboarded")

# lab-v0's unit in systemd's words (coding-lab, docs/reference/lab-v0).
_LAB_UNIT = {
    "KillMode": "process",
    "Type": "simple",
    "Restart": "on-failure",
    "RestartUSec": "5s",
    "Delegate": "no",
}
_RELEASE = "25.11"
_TIMERS = ("nix-gc", "bento-upgrade")


@pytest.mark.criterion("onboard-host-config")
@pytest.mark.scenario("lab-unit")
def test_lab_unit_invariants(dev: Machine, check: Recorder, fleet: Fleet) -> None:
    """The settings that sessions depend on, as systemd has loaded them."""
    lab = dev.lab.state()
    for key, value in _LAB_UNIT.items():
        check.check(
            f"lab has {key}={value}",
            lab.properties.get(key) == value,
            f"{key}={lab.properties.get(key)}",
        )
    check.check(
        "lab runs as its own user",
        lab.properties.get("User") == fleet.lab.user,
        f"User={lab.properties.get('User')}",
    )
    check.check(
        "lab runs from the store",
        lab.exec_start.startswith("/nix/store/"),
        f"ExecStart={lab.exec_start}",
    )
    check.check("lab is healthy", lab.healthy, f"{lab.active_state}, {lab.status}")


@pytest.mark.criterion("onboard-host-config")
@pytest.mark.scenario("timers-and-users")
def test_timers_users_and_what_must_not_be_there(
    dev: Machine, check: Recorder, fleet: Fleet
) -> None:
    """GC and bento come by timer, bento never reboots, and there is no borg."""
    dev.succeed("systemctl", "start", "timers.target")
    units = dev.succeed("systemctl", "list-units", "--all", "--plain", "--no-legend")
    loaded = {line.split()[0] for line in units.splitlines() if line.strip()}
    for name in _TIMERS:
        check.check(f"{name}.timer is there", f"{name}.timer" in loaded, sorted(loaded))
    check.check(
        "no borg backup",
        not [u for u in loaded if "borg" in u],
        [u for u in loaded if "borg" in u],
    )
    bento = dev.sh(
        'grep -h "" $(systemctl show -P ExecStart bento-upgrade.service'
        ' | grep -o "/nix/store/[^ ;]*" | sort -u)'
    ).stdout
    check.check(
        "bento deploys and has reboots off",
        "nixos-rebuild switch" in bento and "systemctl reboot" not in bento,
        bento[-500:],
    )
    user: Any = dev.testinfra.user(fleet.lab.user)
    check.check("lab's user exists", user.exists, fleet.lab.user)
    version = dev.succeed("nixos-version").strip()
    check.check("it is a NixOS of the plan's release", version[:5] == _RELEASE, version)
    state = dev.system.option("system.stateVersion")
    check.check(
        "stateVersion is what the conversion gave it",
        state == _RELEASE,
        f"it is {state}, which changes where services look for their state",
    )
    failed = dev.system.failed_units()
    check.check("no unit failed", not failed, ", ".join(failed))


@pytest.mark.criterion("forgejo-mcp-reach")
@pytest.mark.parametrize(
    "stage",
    [
        pytest.param(
            "onboarded",
            marks=[
                pytest.mark.stage("onboarded"),
                pytest.mark.scenario("before-the-swap"),
            ],
        ),
        pytest.param(
            "swapped",
            marks=[
                pytest.mark.stage("swapped"),
                pytest.mark.scenario("after-the-swap"),
            ],
        ),
    ],
)
def test_services_are_reached_from_dev(
    dev: Machine, site: Site, check: Recorder, fleet: Fleet, stage: str
) -> None:
    """Each service of the spec answers dev, which comes from another address later."""
    check.note(f"asked from {dev.network.addresses()}, {stage}")
    check.require("the spec names services", fleet.network.services)
    for name, endpoint in fleet.network.services.items():
        said = dev.execute(
            *("timeout", "20", "bash", "-c"),
            'exec 3<>"/dev/tcp/$0/$1" && printf "GET / HTTP/1.0\\r\\n\\r\\n" >&3 && '
            "cat <&3",
            *(str(endpoint.ip), str(endpoint.port)),
        )
        check.check(
            f"{name} answers",
            " 200 " in said.stdout.partition("\n")[0],
            f"{endpoint.ip}:{endpoint.port} said {said.output[:200]!r}",
        )
    assert site.services
