"""`bento-pull`: what a pull deploys, and all that it must leave alone."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import pytest

from harness import (
    HEARTBEATS,
    Budgets,
    Fleet,
    GuestFailure,
    LabState,
    Machine,
    MachineFactory,
    NotExercised,
    Recorder,
    SystemState,
    describe,
    poll,
)
from suites.onboard.checks import pulls as checks
from suites.onboard.fleet_server import UNIT, Enrolled, Pull

pytestmark = [
    pytest.mark.criterion("bento-pull"),
    pytest.mark.stage("onboarded"),
    pytest.mark.disruptive,
]

_BROKEN = '{ ... }: { services.lab.port = "eighty-eighty"; }\n'
# A unit that takes its time holds up the switch that starts it, lock and all.
_SLOW = """
{ pkgs, ... }: {
  systemd.services.acceptance-slow = {
    wantedBy = [ "multi-user.target" ];
    serviceConfig.Type = "oneshot";
    serviceConfig.RemainAfterExit = true;
    serviceConfig.ExecStart = "${pkgs.coreutils}/bin/sleep 45";
  };
}"""
_MAIN = "/etc/nixos/configuration.nix"


@pytest.mark.scenario("deploy")
def test_pull_deploys_by_switch_and_never_reboots(
    machine_factory: MachineFactory, check: Recorder, budgets: Budgets, fleet: Fleet
) -> None:
    """Another lab, kernel and bento, and a file named REBOOT, all in one pull."""
    host = Enrolled.of(machine_factory, _vm(fleet))
    dev, first = host.dev, Before.of(host.dev)
    host.publish("1", _everything_new(fleet), marker="REBOOT")
    pull = host.pull()
    check.require(checks.stays_up(pull, first.system.boot_id, dev.boot_id))
    check.require(checks.fetches(pull))
    after = _observe(host, pull)
    check(checks.deploys(after, "1"))
    _must_be_all_new(dev, after.system)
    _judge_sessions(dev, check, first.lab, pull, budgets)

    again = host.pull()
    check.require(checks.stays_up(again, first.system.boot_id, dev.boot_id))
    check(checks.idles(again, after.system, dev.system.state()))
    timer = dev.succeed(
        *("systemctl", "show", UNIT.replace(".service", ".timer")),
        *("-p", "ActiveState,NextElapseUSecRealtime"),
    )
    check(
        checks.is_scheduled(
            dict(line.partition("=")[::2] for line in timer.splitlines())
        )
    )


@pytest.mark.scenario("bad-configuration")
def test_pull_survives_bad_configuration_and_an_absent_server(
    machine_factory: MachineFactory, check: Recorder, fleet: Fleet
) -> None:
    """What cannot be had or built leaves all as it was, shows, and is tried again."""
    host = Enrolled.of(machine_factory, _vm(fleet))
    dev, first = host.dev, Before.of(host.dev)
    host.publish("bad", _BROKEN)
    for attempt in ("first", "second"):
        pull, during = host.pull(), f"{attempt} pull of a bad configuration"
        if attempt == "first":
            check.require(checks.fetches(pull))
        now = _observe(host, pull)
        check(checks.fails_on_bad_configuration(during, now, "bad", UNIT))
        _judge_unchanged(dev, check, first, during)

    host.server.block_network()
    host.publish("good", fleet.lab.changed(2))
    pull = host.pull()
    if "good" in pull.log or host.applied() == "good":
        raise NotExercised(
            "the fleet server to be away during a pull",
            seen=f"the pull got the change: {describe(pull.log)}",
        )
    check.require(checks.stays_up(pull, first.system.boot_id, dev.boot_id))
    _judge_unchanged(dev, check, first, "a pull while the server is away")

    host.server.unblock_network()
    check(checks.deploys(_observe(host, host.pull()), "good"))
    check(checks.heals("a pull after two that failed", _lab_settled(dev)))


@pytest.mark.thorough
@pytest.mark.scenario("manual-switch")
def test_pull_and_manual_switch_take_turns(
    machine_factory: MachineFactory, check: Recorder, fleet: Fleet
) -> None:
    """Both at once: one has the lock, the other says so, and the next pull heals."""
    host = Enrolled.of(machine_factory, _vm(fleet))
    dev = host.dev
    host.publish("raced", fleet.lab.changed(3))
    manual = dev.system.start_rebuild("switch", _SLOW)
    _await_switch(dev)
    refused = dev.execute("/run/current-system/bin/switch-to-configuration", "switch")
    pull = host.pull()
    unit = _slow_unit(dev)
    ended = manual.wait()
    check.require(checks.fetches(pull))
    if unit != "activating":
        raise NotExercised(
            "the manual switch to hold the lock all through the pull",
            seen=f"its unit was {unit}, it printed {describe(ended.output)}",
        )
    check(checks.takes_turns(refused, ended, _slow_unit(dev)))
    check(checks.loses_race(_observe(host, pull), "raced"))
    check(checks.deploys(_observe(host, host.pull()), "raced"))
    check(checks.heals("the pull after the race", _lab_settled(dev)))


@dataclass(frozen=True, slots=True)
class Before:
    """Lab and system before the first pull."""

    lab: LabState
    system: SystemState

    @classmethod
    def of(cls, dev: Machine) -> Before:
        """Look at a machine whose lab is well. Raises NotExercised."""
        lab = dev.lab.state()
        if not lab.healthy or not {*HEARTBEATS} <= set(lab.sessions):
            raise NotExercised(
                "lab to be healthy and to have its sessions before the pull",
                seen=f"its unit is {lab.active_state}, HTTP status "
                f"{describe(lab.status)}, sessions {describe(sorted(lab.sessions))}",
            )
        return cls(lab, dev.system.state())


def _observe(host: Enrolled, pull: Pull) -> checks.Pulled:
    """Look at the host after a pull."""
    imports = host.dev.execute("grep", "-c", "pulled.nix", _MAIN).stdout.strip()
    return checks.Pulled(
        pull,
        host.dev.system.state(),
        host.applied(),
        host.dev.system.failed_units(),
        imports,
    )


def _judge_unchanged(dev: Machine, check: Recorder, first: Before, during: str) -> None:
    """Require the same generation, then check lab's process.

    Another generation may have no lab that could be asked.
    """
    check.require(checks.leaves_system(during, first.system, dev.system.state()))
    check(checks.leaves_lab(during, first.lab, dev.lab.state()))


def _judge_sessions(
    dev: Machine, check: Recorder, first: LabState, pull: Pull, budgets: Budgets
) -> None:
    """Lab was restarted by the pull's switch, and its sessions did not notice."""
    after = _lab_settled(dev)
    if after.main_pid == first.main_pid:
        raise NotExercised(
            "the pull to restart lab",
            seen=f"its MainPID is still {after.main_pid}: {describe(pull.log)}",
        )
    hearts = {name: dev.lab.heartbeats(name).since(first.uptime) for name in HEARTBEATS}
    check(checks.keeps_sessions(first, after, hearts, budgets))


def _must_be_all_new(dev: Machine, now: SystemState) -> None:
    """Raise NotExercised where a pull changed neither kernel nor bento."""
    if not now.reboot_pending:
        raise NotExercised(
            "the pull to bring another kernel",
            seen=f"current and booted system have {now.current and now.current.kernel}",
        )
    environment = dev.succeed("systemctl", "show", "-P", "Environment", UNIT)
    if "STEP=1" not in environment:
        raise NotExercised(
            "the pull to change bento's own unit",
            seen=f"its environment is {describe(environment)}",
        )


def _everything_new(fleet: Fleet) -> str:
    """Return a module with another lab, kernel and bento than the machine has."""
    bento = UNIT.partition(".")[0]
    return fleet.lab.changed(
        1,
        also=f"boot.kernelPackages = lib.mkForce pkgs.linuxPackages_latest;\n"
        f'systemd.services.{bento}.environment.STEP = "1";',
    )


def _await_switch(dev: Machine) -> None:
    """Wait until a switch is at its slow unit, and so has the lock."""
    deadline = dev.deadline(200, "a manual switch to start its units")

    poll(
        lambda: True if _slow_unit(dev) == "activating" else None,
        deadline,
        interval=1.0,
    )


def _slow_unit(dev: Machine) -> str:
    state = dev.execute("systemctl", "is-active", "acceptance-slow.service")
    return state.stdout.strip()


def _lab_settled(dev: Machine) -> LabState:
    """Give lab the time that Type=simple does not wait for, then look at it."""
    with suppress(GuestFailure):
        dev.wait_for_open_port(dev.lab.port, timeout=15)
    return dev.lab.state()


def _vm(fleet: Fleet) -> str:
    return fleet.migration.vm if fleet.migration else "dev"
