"""`switch-keeps-sessions`: decided by the sessions' own records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness import NotExercised
from suites.sessions.survival import Witness

if TYPE_CHECKING:
    from harness import Budgets, Fleet, Machine, Recorder

pytestmark = [
    pytest.mark.criterion("switch-keeps-sessions"),
    pytest.mark.stage("onboarded"),
    pytest.mark.disruptive,
]


@pytest.mark.scenario("two-switches")
def test_switches_that_change_lab_keep_its_sessions(
    dev: Machine, check: Recorder, budgets: Budgets, fleet: Fleet
) -> None:
    """Two switches in a row, because outages came with the second, and a rollback."""
    witness = Witness.of(dev, check, budgets)
    before = witness.first
    with dev.site.watch_address(dev.vm.ip, tcp=(fleet.lab.port,)) as watch:
        for step in (1, 2):
            rebuilt = dev.system.rebuild("switch", fleet.lab.changed(step))
            before = witness.judge_restart(f"switch {step}", rebuilt, before)
        rebuilt = dev.system.rebuild("switch", rollback=True)
        witness.judge_restart("rollback", rebuilt, before)
    outage = watch.longest_outage(f"tcp:{fleet.lab.port}")
    check.check(
        "lab's page is back within budget",
        outage <= budgets.switch_lab_outage_s,
        f"port {fleet.lab.port} was closed for {outage:.1f} s, "
        f"budget {budgets.switch_lab_outage_s} s",
    )
    later = dev.lab.state()
    check.check(
        "lab stays up afterwards",
        later.active_state == "active" and later.n_restarts == before.n_restarts,
        f"{later.active_state}, NRestarts {before.n_restarts} then, "
        f"{later.n_restarts} now",
    )


@pytest.mark.scenario("other-units")
def test_switch_that_changes_three_other_units(
    dev: Machine, check: Recorder, budgets: Budgets
) -> None:
    """Lab is not restarted at all when it did not change."""
    witness = Witness.of(dev, check, budgets)
    dev.system.rebuild("switch", _three_units("first"))
    rebuilt = dev.system.rebuild("switch", _three_units("second"))
    missing = {f"acceptance-{n}.service" for n in (1, 2, 3)} - rebuilt.touched
    if missing:
        raise NotExercised(
            "the switch restarted three other units",
            seen=f"not {', '.join(sorted(missing))}: {rebuilt.output[-1500:]}",
        )
    witness.judge_untouched("a switch of three other units", rebuilt)


@pytest.mark.scenario("daemon-reexec")
@pytest.mark.fastest
def test_switch_that_reexecutes_systemd(
    dev: Machine, check: Recorder, budgets: Budgets, fleet: Fleet
) -> None:
    """A generation with another systemd: the manager is replaced under the sessions."""
    witness = Witness.of(dev, check, budgets)
    before = dev.system.state()
    rebuilt = dev.system.rebuild("switch", fleet.lab.changed(1, also=_ANOTHER_SYSTEMD))
    after = dev.system.state()
    if after.pid1_exe == before.pid1_exe:
        raise NotExercised(
            "PID 1 was re-executed from another path",
            seen=f"{after.pid1_exe}: {rebuilt.output[-1500:]}",
        )
    witness.judge_restart("switch with daemon-reexec", rebuilt, witness.first)


@pytest.mark.scenario("from-a-session")
def test_switch_from_inside_a_session(
    dev: Machine, check: Recorder, budgets: Budgets, fleet: Fleet
) -> None:
    """Whoever works in a session deploys from there, and restarts what it lives in."""
    witness = Witness.of(dev, check, budgets)
    inside = witness.first.control_group
    rebuilding = dev.system.start_rebuild("switch", fleet.lab.changed(1), cgroup=inside)
    rebuilt = rebuilding.wait()
    if "cgroup.procs" in rebuilt.output:
        raise NotExercised(f"nixos-rebuild ran in {inside}", seen=rebuilt.output)
    check.check(
        "a switch from inside a session comes to its end",
        rebuilt.succeeded,
        f"nixos-rebuild in {inside} ended with {rebuilt.rc}: {rebuilt.output[-1500:]}",
    )
    witness.judge_restart("switch from inside a session", rebuilt, witness.first)


@pytest.mark.scenario("old-kill-mode")
def test_the_old_kill_mode_decides_a_switch(
    dev: Machine, check: Recorder, budgets: Budgets, fleet: Fleet
) -> None:
    """Why the very first deployment of `KillMode=process` still kills.

    NixOS stops a changed unit while its *old* definition is loaded, so the switch away
    from `process` keeps the sessions and the switch back to it takes them down.
    """
    witness = Witness.of(dev, check, budgets)
    killing = fleet.lab.changed(1, also=_kill_mode(fleet.lab.name, "control-group"))
    rebuilt = dev.system.rebuild("switch", killing)
    before = witness.judge_restart("switch to control-group", rebuilt, witness.first)
    if before.kill_mode != "control-group":
        raise NotExercised("lab had KillMode=control-group", seen=before.kill_mode)

    dev.system.rebuild("switch", fleet.lab.changed(2))
    after = dev.lab.state()
    survived = {
        name
        for name, one in before.sessions.items()
        if (now := after.sessions.get(name)) and now.identity == one.identity
    }
    check.check(
        "the first switch from control-group kills the sessions",
        not survived and after.main_pid != before.main_pid,
        f"{sorted(survived)} survived a stop with KillMode=control-group; this guest "
        "stops units with their new definition, unlike NixOS",
    )
    check.check(
        "afterwards the unit has KillMode=process",
        after.kill_mode == "process",
        f"KillMode={after.kill_mode}",
    )


_ANOTHER_SYSTEMD = "systemd.package = lib.mkForce (pkgs.systemdRevision 2);"


def _kill_mode(unit: str, mode: str) -> str:
    return f'systemd.services.{unit}.serviceConfig.KillMode = lib.mkForce "{mode}";'


def _three_units(text: str) -> str:
    """Return a module with three services whose definition carries the text."""
    units = "\n".join(
        f"""  systemd.services.acceptance-{n} = {{
    wantedBy = [ "multi-user.target" ];
    environment.TEXT = "{text}";
    serviceConfig.ExecStart = "${{pkgs.coreutils}}/bin/sleep infinity";
  }};"""
        for n in (1, 2, 3)
    )
    return f"{{ pkgs, ... }}: {{\n{units}\n}}"
