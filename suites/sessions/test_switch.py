"""`switch-keeps-sessions`: decided by the sessions' own records."""

import pytest

from harness import Budgets, Fleet, LabState, Machine, NotExercised, Recorder
from suites.sessions import checks, observing
from suites.sessions.observing import Observation

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
    first = before = observing.live_lab(dev, check)
    with dev.site.watch_address(dev.vm.ip, tcp=(fleet.lab.port,)) as watch:
        for step in (1, 2):
            event = f"switch {step}"
            rebuilt = dev.system.rebuild("switch", fleet.lab.changed(step))
            seen = observing.after_restart(dev, event, rebuilt, first, before, budgets)
            _judge_restart(check, budgets, first, before, seen)
            before = seen.lab
        rebuilt = dev.system.rebuild("switch", rollback=True)
        seen = observing.after_restart(dev, "rollback", rebuilt, first, before, budgets)
        _judge_restart(check, budgets, first, before, seen)
    outage = watch.longest_outage(f"tcp:{fleet.lab.port}")
    check(checks.outage_within_budget(outage, fleet.lab.port, budgets))
    later, during = dev.lab.state(), "after the rollback"
    check(checks.unit_active(later, during))
    check(checks.not_restarted_by_systemd(before, later, during))


@pytest.mark.scenario("other-units")
def test_switch_that_changes_three_other_units(
    dev: Machine, check: Recorder, budgets: Budgets
) -> None:
    """Lab is not restarted at all when it did not change."""
    first = observing.live_lab(dev, check)
    dev.system.rebuild("switch", _three_units("first"))
    rebuilt = dev.system.rebuild("switch", _three_units("second"))
    missing = {f"acceptance-{n}.service" for n in (1, 2, 3)} - rebuilt.touched
    if missing:
        raise NotExercised(
            "the switch to restart three other units",
            seen={"not restarted": missing, "output": rebuilt.output},
        )
    event = "switch of three other units"
    seen = observing.after_switch(dev, event, rebuilt, first, budgets)
    check(checks.lab_untouched(first, seen.lab, event))
    check(checks.keeps_sessions(first, seen, budgets))
    observing.draw(check, seen, budgets)


@pytest.mark.scenario("daemon-reexec")
@pytest.mark.fastest
def test_switch_that_reexecutes_systemd(
    dev: Machine, check: Recorder, budgets: Budgets, fleet: Fleet
) -> None:
    """A generation with another systemd: the manager is replaced under the sessions."""
    first = observing.live_lab(dev, check)
    before = dev.system.state()
    rebuilt = dev.system.rebuild("switch", fleet.lab.changed(1, also=_ANOTHER_SYSTEMD))
    after = dev.system.state()
    if after.pid1_exe == before.pid1_exe:
        raise NotExercised(
            "PID 1 to be re-executed from another path",
            seen={"executable": after.pid1_exe, "output": rebuilt.output},
        )
    event = "switch with daemon-reexec"
    seen = observing.after_restart(dev, event, rebuilt, first, first, budgets)
    _judge_restart(check, budgets, first, first, seen)


@pytest.mark.scenario("from-a-session")
def test_switch_from_inside_a_session(
    dev: Machine, check: Recorder, budgets: Budgets, fleet: Fleet
) -> None:
    """A user deploys from a session, and the switch restarts the session's own unit."""
    first = observing.live_lab(dev, check)
    inside = first.control_group
    rebuilding = dev.system.start_rebuild("switch", fleet.lab.changed(1), cgroup=inside)
    rebuilt = rebuilding.wait()
    if "cgroup.procs" in rebuilt.output:
        raise NotExercised(f"nixos-rebuild to run in {inside}", seen=rebuilt.output)
    check(checks.switches_from_a_session(rebuilt, inside))
    event = "switch from inside a session"
    seen = observing.after_restart(dev, event, rebuilt, first, first, budgets)
    _judge_restart(check, budgets, first, first, seen)


@pytest.mark.scenario("old-kill-mode")
def test_the_old_kill_mode_decides_a_switch(
    dev: Machine, check: Recorder, budgets: Budgets, fleet: Fleet
) -> None:
    """Why the very first deployment of `KillMode=process` still kills.

    NixOS stops a changed unit while its *old* definition is loaded, so the switch away
    from `process` keeps the sessions and the switch back to it takes them down.
    """
    first = observing.live_lab(dev, check)
    killing = fleet.lab.changed(1, also=_kill_mode(fleet.lab.name, "control-group"))
    rebuilt = dev.system.rebuild("switch", killing)
    event = "switch to KillMode=control-group"
    seen = observing.after_restart(dev, event, rebuilt, first, first, budgets)
    _judge_restart(check, budgets, first, first, seen)
    if seen.lab.kill_mode != "control-group":
        raise NotExercised(
            "lab to have KillMode=control-group", seen=f"it is {seen.lab.kill_mode}"
        )

    dev.system.rebuild("switch", fleet.lab.changed(2))
    check(checks.old_kill_mode_decides(seen.lab, dev.lab.state()))


def _judge_restart(
    check: Recorder,
    budgets: Budgets,
    first: LabState,
    before: LabState,
    seen: Observation,
) -> None:
    check(checks.keeps_sessions(first, seen, budgets))
    check(checks.lab_recovers(before, seen.lab, seen.event))
    observing.draw(check, seen, budgets)


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
