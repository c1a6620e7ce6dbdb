"""The command line as a user sees it: real processes, whole messages."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from harness import process
from harness.cli.say import age_text, clock_text, size_text
from harness.host import programs
from tests.waiting import patient

ROOT = Path(__file__).parents[2]
HARNESS = [sys.executable, "-c", "from harness.cli import main; main()"]


def harness(*words: str) -> process.Completed:
    """Run the command line to its end."""
    deadline = patient(50, "harness")
    return process.run([*HARNESS, *words], deadline=deadline, cwd=ROOT)


def test_a_good_spec_is_described() -> None:
    """What moves where, what is scaled down, and exit status 0."""
    said = harness("spec", "check", "fleet.toml").check().stdout
    assert "dev moves from 10.42.97.16 to 10.42.97.15" in said
    assert "dev: memory scaled down from 16384 MiB to 1024 MiB" in said


def test_a_bad_spec_is_one_message_and_exit_status_2(tmp_path: Path) -> None:
    """All faults, no traceback, nothing on stdout."""
    bad = tmp_path / "bad.toml"
    bad.write_text('[vms.dev]\nmac = "x"\nip = "y"\nmemory = 1\n')
    said = harness("spec", "check", str(bad))
    assert said.rc == 2
    assert said.stdout == ""
    assert "the fleet spec has 3 mistakes" in said.stderr
    assert f"{bad}:4: vms.dev.memory = 1: no such setting; did you mean mem?" in (
        said.stderr
    )
    assert "Traceback" not in said.stderr


def test_units_that_are_not_understood_are_exit_status_2(tmp_path: Path) -> None:
    """All of what is wrong, before anything runs."""
    unit = tmp_path / "vm-dev.service"
    unit.write_text("[Service]\nType=sometimes\nExecStart=/bin/vm\nExecStop=stop-it\n")
    said = harness("adopt", "--unit", str(unit))
    assert said.rc == 2
    assert "vm-dev.service:2: Failed to parse service type" in said.stderr
    assert "Command /bin/vm is not executable" in said.stderr
    said = harness("adopt", "--unit", str(unit), "--vm", "nobody")
    assert "one of: dev, openclaw" in said.stderr


def test_the_printed_schema_is_the_committed_one() -> None:
    """`make schema` writes what this prints."""
    committed = ROOT / "harness/fleet/fleet.schema.json"
    assert harness("spec", "schema").check().stdout == committed.read_text()


@pytest.mark.parametrize("words", [["frobnicate"], ["up", "--accel", "warp"]])
def test_wrong_usage_is_exit_status_2(words: list[str]) -> None:
    """An unknown command or value explains itself."""
    said = harness(*words)
    assert said.rc == 2
    assert "Traceback" not in said.stderr


def test_up_wants_machines_that_there_are(tmp_path: Path) -> None:
    """One by its name or all with autostart; an unknown one is refused at once."""
    said = harness("up", "openclaw", "--autostart")
    assert said.rc == 2
    assert "VM = openclaw: left out where --autostart chooses" in said.stderr
    asleep = tmp_path / "fleet.toml"
    text = (ROOT / "fleet.toml").read_text()
    asleep.write_text(text.replace("autostart = true", "autostart = false"))
    said = harness("up", "--autostart", "--stage", "x", "--fleet", str(asleep))
    assert said.rc == 2
    assert "--autostart: no VM has autostart" in said.stderr
    assert "--stage = x: one of: cloud" in said.stderr
    assert harness("up", "nobody").rc == 2


def test_every_command_has_help() -> None:
    """A command without a sentence of help is not finished."""
    said = harness("--help").check().stdout
    commands = re.findall(r"^  ([a-z-]+)  +(\S.*)$", said, re.MULTILINE)
    names = {name for name, _ in commands}
    assert {"doctor", "up", "sh", "console", "images", "clean", "bench"} <= names


def test_every_program_that_doctor_misses_is_installed_by_make() -> None:
    """`harness doctor` and `.ci/packages` name the same Debian packages."""
    listed = (ROOT / ".ci/packages").read_text()
    packages = {program.package for program in programs.PROGRAMS}
    assert "mmdebstrap" in packages
    assert {p for p in packages if not re.search(rf"\b{p}\b", listed)} == set()


def test_figures_are_written_for_people() -> None:
    """Each in the unit that suits it."""
    assert [size_text(n) for n in (512, 2048, 3 * 2**20, 5 * 2**30)] == [
        "512 B",
        "2 KiB",
        "3 MiB",
        "5.0 GiB",
    ]
    assert [age_text(n) for n in (5, 120, 7200, 3 * 86400)] == [
        "5 s",
        "2 min",
        "2 h",
        "3 d",
    ]
    assert clock_text(125.9) == "2:05"
