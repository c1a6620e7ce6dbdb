"""The decision table of a switch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from nixguest.plan import Comparison, Plan, template_of

if TYPE_CHECKING:
    from pathlib import Path

Units = dict[str, str]
SERVICE = "[Service]\nExecStart=/nix/store/{0}/bin/x\n"


@pytest.fixture
def directories(tmp_path: Path) -> tuple[Path, Path]:
    """Two unit directories, old and new."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    return old, new


def plan(directories: tuple[Path, Path], old: Units, new: Units, **states: str) -> Plan:
    """Return what a switch would do, all units of `old` being active."""
    for directory, units in zip(directories, (old, new), strict=True):
        for name, text in units.items():
            path = directory / name
            path.parent.mkdir(exist_ok=True)
            if text == "/dev/null":
                path.symlink_to(text)
            else:
                path.write_text(text)
    active = dict.fromkeys(old, "active") | states
    paths = [str(directory) for directory in directories]
    return Comparison(Plan(), paths[0], paths[1], active).collect(lambda _: True)


def decided(result: Plan) -> dict[str, set[str]]:
    """Return the parts of a plan that are not empty."""
    kinds = ("stop", "start", "restart", "reload", "skip")
    return {kind: getattr(result, kind) for kind in kinds if getattr(result, kind)}


CHANGED = (SERVICE.format("a"), SERVICE.format("b"))


@pytest.mark.parametrize(
    ("extra", "decision"),
    [
        ("", {"stop": {"x.service"}, "start": {"x.service"}}),
        ("X-StopIfChanged=false\n", {"restart": {"x.service"}}),
        ("X-RestartIfChanged=false\n", {"skip": {"x.service"}}),
        ("X-ReloadIfChanged=true\n", {"reload": {"x.service"}}),
        ("[Unit]\nRefuseManualStop=true\n", {"skip": {"x.service"}}),
        ("[Unit]\nX-OnlyManualStart=true\n", {"skip": {"x.service"}}),
    ],
)
def test_changed_service(
    directories: tuple[Path, Path], extra: str, decision: dict[str, set[str]]
) -> None:
    """The *new* unit file decides how a changed service is treated."""
    result = plan(
        directories, {"x.service": CHANGED[0]}, {"x.service": CHANGED[1] + extra}
    )
    assert decided(result) == decision


def test_unchanged_is_left_alone(directories: tuple[Path, Path]) -> None:
    """Equal content means no action, also with other file times."""
    same = {"x.service": CHANGED[0]}
    assert decided(plan(directories, same, same)) == {}


@pytest.mark.parametrize("gone", [{}, {"x.service": "/dev/null"}])
def test_removed_is_stopped(directories: tuple[Path, Path], gone: Units) -> None:
    """A unit that is gone, or masked, is stopped."""
    result = plan(directories, {"x.service": CHANGED[0]}, gone)
    assert decided(result) == {"stop": {"x.service"}}


def test_removed_may_ask_to_stay(directories: tuple[Path, Path]) -> None:
    """X-StopOnRemoval=false keeps a removed unit running."""
    stays = CHANGED[0] + "[Unit]\nX-StopOnRemoval=false\n"
    assert decided(plan(directories, {"x.service": stays}, {})) == {}


def test_inactive_is_not_touched(directories: tuple[Path, Path]) -> None:
    """A failed unit is not stopped; targets start it if it is wanted."""
    old, new = ({"x.service": text} for text in CHANGED)
    assert decided(plan(directories, old, new, **{"x.service": "failed"})) == {}


def test_targets_start_again_quietly(directories: tuple[Path, Path]) -> None:
    """Active targets are started, which starts new units, and not talked about."""
    target = {"multi-user.target": "[Unit]\nDescription=x\n"}
    result = plan(directories, target, target)
    assert decided(result) == {"start": {"multi-user.target"}}
    assert result.shown(result.start) == []


def test_manual_targets_do_not(directories: tuple[Path, Path]) -> None:
    """A target that refuses a manual start gets none."""
    target = {"x.target": "[Unit]\nRefuseManualStart=true\n"}
    assert decided(plan(directories, target, target)) == {}


def test_socket_starts_its_service(directories: tuple[Path, Path]) -> None:
    """Of a socket-activated service, the socket is stopped and started instead."""
    socket = "[Socket]\nListenStream=/x\n"
    old = {"x.service": CHANGED[0], "x.socket": socket}
    new = {"x.service": CHANGED[1], "x.socket": socket}
    assert decided(plan(directories, old, new)) == {
        "stop": {"x.service", "x.socket"},
        "start": {"x.socket"},
    }


def test_service_may_decline_its_socket(directories: tuple[Path, Path]) -> None:
    """X-NotSocketActivated starts the service itself, too."""
    socket = "[Socket]\nListenStream=/x\n"
    old = {"x.service": CHANGED[0], "x.socket": socket}
    new = {"x.service": f"{CHANGED[1]}X-NotSocketActivated=true\n", "x.socket": socket}
    assert decided(plan(directories, old, new))["start"] == {"x.service", "x.socket"}


@pytest.mark.parametrize(
    ("unit", "decision"),
    [
        ("-.mount", {"reload": {"-.mount"}}),
        ("srv.mount", {"restart": {"srv.mount"}}),
        ("x.slice", {}),
        ("x.path", {}),
        ("x.socket", {}),
        ("x.timer", {"restart": {"x.timer"}}),
    ],
)
def test_other_kinds(
    directories: tuple[Path, Path], unit: str, decision: dict[str, set[str]]
) -> None:
    """Each kind of unit has its own treatment."""
    old, new = {unit: "[X]\nWhere=a\n"}, {unit: "[X]\nWhere=b\n"}
    assert decided(plan(directories, old, new)) == decision


def test_instances_follow_their_template(directories: tuple[Path, Path]) -> None:
    """A running instance is restarted when its template changes."""
    for directory, text in zip(directories, CHANGED, strict=True):
        (directory / "x@.service").write_text(text)
    old, new = map(str, directories)
    comparison = Comparison(Plan(), old, new, {"x@one.service": "active"})
    result = comparison.collect(lambda _: True)
    assert decided(result) == {"stop": {"x@one.service"}, "start": {"x@one.service"}}


@pytest.mark.parametrize(
    ("unit", "template"),
    [
        ("getty@tty1.service", "getty@.service"),
        ("user@1000.service", "user@.service"),
        ("x.service", None),
        ("x@.service", None),
    ],
)
def test_template_names(unit: str, template: str | None) -> None:
    """Instances name their template; plain units and templates have none."""
    assert template_of(unit) == template
