"""Unit files are compared by content, with the exceptions that NixOS makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nixguest import unitfile

if TYPE_CHECKING:
    from pathlib import Path

LAB = """\
[Unit]
Description=lab
After=network.target

[Service]
Environment="A=1"
ExecStart=/nix/store/aaa-lab-1/bin/lab
KillMode=process

[Install]
WantedBy=multi-user.target
"""


def parsed(text: str) -> unitfile.UnitInfo:
    """One text as a unit."""
    info: unitfile.UnitInfo = {}
    unitfile.parse(text, info)
    return info


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        ("bin/lab\n", "bin/lab\n", "equal"),
        ("aaa-lab-1", "bbb-lab-2", "restart"),
        ("KillMode=process", "KillMode=control-group", "restart"),
        ("KillMode=process\n", "", "restart"),
        ("KillMode=process", "KillMode=process\nNice=5", "restart"),
        ("Description=lab", "Description=other words", "equal"),
        ("Description=lab\n", "", "equal"),
        ("Description=lab", "Description=lab\nDocumentation=man:lab(1)", "equal"),
        ("After=network.target", "After=network.target sound.target", "restart"),
        ("After=network.target", "# a comment\nAfter = network.target", "equal"),
        ("WantedBy=multi-user.target", "WantedBy=basic.target", "equal"),
        ("Description=lab", "Description=lab\nX-Restart-Triggers=x", "restart"),
        ("Description=lab", "Description=lab\nX-Reload-Triggers=x", "reload"),
        ("KillMode=process", "KillMode=process\nExecReload=/bin/true", "reload"),
        ("[Install]", "[Mount]\nOptions=ro\n[Install]", "restart"),
    ],
)
def test_one_change_has_one_verdict(old: str, new: str, verdict: str) -> None:
    """Every kind of change asks for what the NixOS manual says it asks for."""
    assert unitfile.compare(parsed(LAB), parsed(LAB.replace(old, new))) == verdict


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ("ExecReload=a", "ExecReload=b", "reload"),
        ("ExecReload=a", "", "equal"),
        ("ExecReload=a\nNice=1", "ExecReload=b\nNice=2", "restart"),
    ],
)
def test_reload_command(before: str, after: str, verdict: str) -> None:
    """A changed ExecReload is tried out, a removed one changes nothing."""
    old, new = parsed(f"[Service]\n{before}"), parsed(f"[Service]\n{after}")
    assert unitfile.compare(old, new) == verdict


def test_mount_options_are_remounted() -> None:
    """Options= of a mount is taken over by a reload; where it is mounted is not."""
    old = parsed("[Mount]\nWhere=/x\nOptions=rw")
    assert unitfile.compare(old, parsed("[Mount]\nWhere=/x\nOptions=ro")) == "reload"
    assert unitfile.compare(old, parsed("[Mount]\nWhere=/y\nOptions=rw")) == "restart"
    assert unitfile.compare(old, parsed("[Mount]\nWhere=/x")) == "restart"


def test_empty_value_resets() -> None:
    """`ExecStart=` forgets what was set before, as systemd does."""
    info = parsed("[Service]\nExecStart=/a\nExecStart=\nExecStart=/b")
    assert info == {"Service": {"ExecStart": ["/b"]}}


def test_dropins_apply_in_order(tmp_path: Path) -> None:
    """Drop-ins of a unit are read after it, by name."""
    unit = tmp_path / "lab.service"
    unit.write_text("[Service]\nExecStart=/a\n")
    (tmp_path / "lab.service.d").mkdir()
    (tmp_path / "lab.service.d/b.conf").write_text("[Service]\nNice=2\n")
    (tmp_path / "lab.service.d/a.conf").write_text("[Service]\nExecStart=\nNice=1\n")
    info = unitfile.load(str(unit), str(unit))
    assert info == {"Service": {"ExecStart": [], "Nice": ["1", "2"]}}


@pytest.mark.parametrize(
    ("value", "truth"), [("true", True), ("1", True), ("no", False)]
)
def test_last_boolean_counts(value: str, truth: bool) -> None:  # noqa: FBT001
    """A repeated boolean has its last value."""
    info = parsed(f"[Service]\nX-RestartIfChanged=maybe\nX-RestartIfChanged={value}")
    key = "X-RestartIfChanged"
    assert unitfile.boolean(info, "Service", key, default=False) is truth
    assert unitfile.boolean({}, "Service", key, default=True)


@given(st.text())
def test_any_text_equals_itself(text: str) -> None:
    """Parsing never fails, and what did not change is never restarted."""
    assert unitfile.compare(parsed(text), parsed(text)) == unitfile.EQUAL
