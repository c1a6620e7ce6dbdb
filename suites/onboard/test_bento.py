"""`bento-pull`: what a pull deploys, and all that it must leave alone."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from harness import HEARTBEATS, GuestFailure, NotExercised, poll
from suites.onboard.fleet_server import UNIT, Enrolled

if TYPE_CHECKING:
    from harness import (
        Budgets,
        Fleet,
        LabState,
        Machine,
        MachineFactory,
        Recorder,
        SystemState,
    )
    from suites.onboard.fleet_server import Pull

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
_LOCKED = 11


@pytest.mark.scenario("deploy")
def test_pull_deploys_by_switch_and_never_reboots(
    machine_factory: MachineFactory, check: Recorder, budgets: Budgets, fleet: Fleet
) -> None:
    """Another lab, kernel and bento, and a file named REBOOT, all in one pull."""
    host = Enrolled.of(machine_factory, _vm(fleet))
    watch = Watch.of(host.dev, check)
    host.publish("1", _everything_new(fleet), marker="REBOOT")
    pulled = host.pull()
    watch.judge_no_reboot(pulled)
    _judge_reached(check, pulled)
    _judge_applied(host, check, pulled, "1")
    after = host.dev.system.state()
    if not after.reboot_pending:
        raise NotExercised("the pull brought another kernel", seen=f"{after.current}")
    told = host.dev.succeed("systemctl", "show", "-P", "Environment", UNIT)
    if "STEP=1" not in told:
        raise NotExercised("the pull changed bento's own unit", seen=told)
    watch.judge_sessions(pulled, budgets)

    again = host.pull()
    watch.judge_no_reboot(again)
    check.check(
        "a pull without news changes nothing",
        not again.failed
        and host.dev.system.state().generations == after.generations
        and "building" not in again.log,
        f"{again.result}: {again.log[-500:]}",
    )
    timer = host.dev.succeed(
        *("systemctl", "show", UNIT.replace(".service", ".timer")),
        *("-p", "ActiveState,NextElapseUSecRealtime"),
    )
    check.check(
        "the next pull is due",
        "ActiveState=active" in timer and "NextElapseUSecRealtime=\n" not in timer,
        timer,
    )


@pytest.mark.scenario("bad-configuration")
def test_pull_survives_bad_configuration_and_an_absent_server(
    machine_factory: MachineFactory, check: Recorder, fleet: Fleet
) -> None:
    """What cannot be had or built leaves all as it was, shows, and is tried again."""
    host = Enrolled.of(machine_factory, _vm(fleet))
    watch = Watch.of(host.dev, check)
    host.publish("bad", _BROKEN)
    for attempt in ("first", "second"):
        pulled = host.pull()
        if attempt == "first":
            _judge_reached(check, pulled)
        check.check(
            "a configuration that cannot be built is tried again",
            pulled.reached and host.applied() != "bad",
            f"{attempt} pull: {pulled.log[-500:]}; bento remembers {host.applied()!r}",
        )
        check.check(
            "a failed pull is a failed unit",
            pulled.failed and UNIT in host.dev.system.failed_units(),
            f"{attempt} pull: {pulled.result}, status {pulled.status}, "
            f"{pulled.log[-500:]}",
        )
        watch.judge_unchanged("after a configuration that cannot be built")

    host.server.block_network()
    host.publish("good", fleet.lab.changed(2))
    pulled = host.pull()
    if "good" in pulled.log or host.applied() == "good":
        raise NotExercised("the fleet server was away", seen=pulled.log[-500:])
    watch.judge_no_reboot(pulled)
    watch.judge_unchanged("while the server is away")

    host.server.unblock_network()
    pulled = host.pull()
    _judge_applied(host, check, pulled, "good")
    check.check(
        "lab is healthy after the pull that healed",
        _lab_settled(host.dev).healthy,
        f"{host.dev.lab.state().active_state}",
    )


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
    pulled = host.pull()
    held = _slow_unit(dev) == "activating"
    ended = manual.wait()
    _judge_reached(check, pulled)
    if not held:
        raise NotExercised(
            "the manual switch held the lock all through the pull",
            seen=ended.output[-800:],
        )
    check.check(
        "a second switch is refused",
        refused.rc == _LOCKED and "Could not acquire lock" in refused.output,
        f"exit status {refused.rc}: {refused.output}",
    )
    # It may well end with 4, because a unit failed meanwhile: the pull.
    check.check(
        "the manual switch takes effect",
        _slow_unit(dev) == "active",
        f"exit status {ended.rc}: {ended.output[-800:]}",
    )
    check.check(
        "a pull that lost the race does not count as applied",
        pulled.failed and host.applied() != "raced",
        f"{pulled.result}; bento remembers {host.applied()!r}: {pulled.log[-800:]}",
    )
    healing = host.pull()
    _judge_applied(host, check, healing, "raced")
    check.check(
        "lab is healthy after the race",
        _lab_settled(dev).healthy,
        f"{dev.lab.state().active_state}",
    )


@dataclass(frozen=True)
class Watch:
    """Holds a machine against what it was before the first pull."""

    dev: Machine
    check: Recorder
    lab: LabState
    system: SystemState

    @classmethod
    def of(cls, dev: Machine, check: Recorder) -> Watch:
        """Look at a machine whose lab is well. Raises NotExercised."""
        lab = dev.lab.state()
        if not lab.healthy or not {*HEARTBEATS} <= set(lab.sessions):
            raise NotExercised(
                "lab was well and had its sessions before the pull",
                seen=f"{lab.active_state}, sessions {sorted(lab.sessions)}",
            )
        return cls(dev, check, lab, dev.system.state())

    def judge_no_reboot(self, pulled: Pull) -> None:
        """Nothing else can be judged on a machine that rebooted."""
        boot_id = self.dev.boot_id
        self.check.require(
            "a pull never reboots the machine",
            not pulled.rebooted and boot_id == self.system.boot_id,
            f"boot id was {self.system.boot_id}, is {boot_id}; {pulled.log[-500:]}",
        )

    def judge_unchanged(self, event: str) -> None:
        """Demand the same generation, now and for the next boot, and the same lab."""
        system = self.dev.system.state()
        # Another generation may have no lab that could be asked.
        self.check.require(
            "the old generation keeps running",
            system.current == self.system.current
            and system.profile == self.system.profile,
            f"{event}: current {system.current}, profile {system.profile}",
        )
        lab = self.dev.lab.state()
        self.check.check(
            "lab is left alone",
            lab.main_pid == self.lab.main_pid and lab.healthy,
            f"{event}: MainPID {lab.main_pid}, was {self.lab.main_pid}; "
            f"{lab.active_state}",
        )

    def judge_sessions(self, pulled: Pull, budgets: Budgets) -> None:
        """Lab was restarted by the pull's switch, and its sessions did not notice."""
        after = _lab_settled(self.dev)
        if after.main_pid == self.lab.main_pid:
            raise NotExercised("the pull restarted lab", seen=pulled.log[-1500:])
        was = {name: one.identity for name, one in self.lab.sessions.items()}
        now = {name: one.identity for name, one in after.sessions.items()}
        self.check.check(
            "sessions survive a pull",
            was == now,
            f"sessions (name, PID, start time, pty) were {was}, are {now}",
        )
        for name in HEARTBEATS:
            heart = self.dev.lab.heartbeats(name).since(self.lab.uptime)
            self.check.check(
                "heartbeat without a gap",
                heart.longest_gap_ms <= budgets.heartbeat_gap_ms,
                f"{name} was silent for {heart.longest_gap_ms:.0f} ms, budget "
                f"{budgets.heartbeat_gap_ms} ms",
            )
        self.check.check(
            "lab is healthy after the pull",
            after.healthy,
            f"{after.active_state}, HTTP {after.status}",
        )


def _judge_reached(check: Recorder, pulled: Pull) -> None:
    """Demand that a pull got what the server has: it is there and knows this host."""
    check.require(
        "a pull fetches what the server has",
        pulled.reached,
        f"{pulled.result}, status {pulled.status}: {pulled.log[-1500:]}",
    )


def _judge_applied(host: Enrolled, check: Recorder, pulled: Pull, change: str) -> None:
    """Hold a pull to having deployed, and to agreeing with itself on what runs."""
    check.check(
        "a pull outlives its own switch",
        not pulled.failed and not pulled.restarted and host.applied() == change,
        f"{pulled.result}, status {pulled.status}, "
        f"{'restarted meanwhile' if pulled.restarted else 'not restarted'}, remembers "
        f"{host.applied()!r}, wanted {change!r}: {pulled.log[-800:]}",
    )
    state = host.dev.system.state()
    check.check(
        "what was pulled runs, and boots next",
        state.current is not None
        and state.profile is not None
        and state.current.path == state.profile.path
        and not state.leftovers,
        f"current {state.current}, profile {state.profile}, left {state.leftovers}",
    )
    deployed = host.dev.execute("grep", "-c", "pulled.nix", _MAIN).stdout.strip()
    check.check(
        "the machine's own configuration is the pulled one",
        deployed == "1",
        f"{_MAIN} names pulled.nix {deployed} times",
    )


_MAIN = "/etc/nixos/configuration.nix"


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
