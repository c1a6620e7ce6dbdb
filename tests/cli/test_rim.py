"""What leaves the command line when something is wrong: one message, and a status."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from harness import process
from harness.cli import app
from harness.fault import built_in
from tests.waiting import patient

ROOT = Path(__file__).parents[2]
HARNESS = [sys.executable, "-c", "from harness.cli import main; main()"]
RAISING = """
from pathlib import Path
from harness.cli import app, main
from harness.errors import *

@app.command("go")
def go() -> None:
    '''Raise what is under test.'''
    {body}

main()
"""


def shell(redirections: str, *words: str, env: str = "") -> process.Completed:
    """Run the command line in a shell, with its outputs led elsewhere."""
    script = f"{env} {shlex.join([*HARNESS, *words])} {redirections}"
    deadline = patient(50, "harness")
    return process.run(["bash", "-c", script], deadline=deadline, cwd=ROOT)


def raising(body: str, place: Path) -> process.Completed:
    """Run a command that does what `body` says."""
    command = [sys.executable, "-c", RAISING.format(body=body), "go"]
    argv = ["env", f"TMPDIR={place}", *command]
    return process.run(argv, deadline=patient(50, "harness"), cwd=ROOT)


@pytest.mark.parametrize("command", ["check", "schema"])
@pytest.mark.parametrize(
    ("redirections", "words", "status"),
    [
        ("| head -0; exit ${PIPESTATUS[0]}", "", 0),
        (">&-", "", 0),
        (">/dev/full", "standard output is not complete: no space left", 2),
        ("2>&- >/dev/null", "", 0),
        ("<&- >/dev/null", "", 0),
        ("2>/dev/full >/dev/null", "", 0),
    ],
)
def test_an_output_that_nobody_reads(
    command: str, redirections: str, words: str, status: int
) -> None:
    """The status stays the command's own, unless output is lost on a full disk."""
    file = ["fleet.toml"] if command == "check" else []
    said = shell(redirections, "spec", command, *file)
    assert said.rc == status
    assert len(said.stderr.splitlines()) == bool(words)
    assert words in said.stderr


def test_a_negative_answer_is_not_hidden_by_a_lost_output(tmp_path: Path) -> None:
    """A spec with a mistake is 2, whether the message can be printed or not."""
    bad = tmp_path / "bad.toml"
    bad.write_text("x = 1\n")
    assert shell("2>/dev/full", "spec", "check", str(bad)).rc == 2
    assert shell("2>&-", "spec", "check", str(bad)).rc == 2


@pytest.mark.parametrize("command", ["images", "clean"])
@pytest.mark.parametrize("place", ["{tmp}/file", "{tmp}/file/x", "{tmp}/circle/x"])
def test_a_cache_that_is_no_directory(tmp_path: Path, command: str, place: str) -> None:
    """The path is named, and what to do."""
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to("circle")
    cache = place.format(tmp=tmp_path)
    said = shell("", command, env=f"HARNESS_CACHE={cache}")
    assert said.rc == 2
    assert said.stdout == ""
    assert said.stderr.startswith(f"harness: {tmp_path}/")
    assert "hint: " in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ("raise InputError('wrong input')", 2, "harness: wrong input"),
        ("raise HostError('wrong computer')", 2, "harness: wrong computer"),
        ("raise MachineError('it broke')", 3, "harness: it broke"),
        ("raise GuestFailure('it failed')", 1, "harness: it failed"),
        ("raise KeyboardInterrupt", 130, "harness: interrupted"),
        ("Path('/proc/no').write_text('')", 2, "harness: /proc/no: no such file"),
        ("raise OSError(28, 'No space left')", 2, "harness: no space left"),
        ("raise BrokenPipeError(32, 'x')", 3, "BrokenPipeError"),
        ("raise ExceptionGroup('', [InputError('a'), InputError('b')])", 2, "s: b"),
    ],
)
def test_each_kind_of_error_has_its_status(
    tmp_path: Path, body: str, status: int, words: str
) -> None:
    """None of them is a traceback."""
    said = raising(body, tmp_path)
    assert said.rc == status
    assert words in said.stderr
    assert "Traceback" not in said.stderr


def test_an_unknown_error_is_the_instruments_and_keeps_its_details(
    tmp_path: Path,
) -> None:
    """The traceback is in a file of this user alone; no secret is in it."""
    said = raising("raise KeyError('AGE-SECRET-KEY-1' + 'Q' * 20)", tmp_path)
    assert said.rc == 3
    assert "an error of the harness itself: KeyError" in said.stderr
    assert "Traceback" not in said.stderr
    found = re.search(r"the details are in (\S+);", said.stderr)
    assert found
    file = Path(found[1])
    assert file.parent.stat().st_mode & 0o777 == 0o700
    text = file.read_text()
    assert "Traceback" in text
    assert "QQQ" not in text + said.stderr
    file.unlink()
    file.parent.rmdir()


def test_the_list_of_faults_can_be_copied() -> None:
    """One name on each line, which the command takes; --json has the rest."""
    names = shell("", "controls", "--list").stdout.split("\n")[:-1]
    assert names == list(built_in())
    assert shell("", "controls", "--list", *names[:3]).stdout.split() == names[:3]
    rows = json.loads(shell("", "controls", "--list", "--json").stdout)
    assert [row["reference"] for row in rows] == names
    assert rows[0]["story"]
    assert rows[0]["expects"]
    alone = shell("", "controls", "--json")
    assert alone.rc == 2
    assert "given with --list" in alone.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("killmode",), "did you mean killmode-"),
        (("boot-full", "boot-full"), "name = boot-full: each fault once"),
        (("--only", "gc-no-stale"), "did you mean gc-no-estale?"),
        (("--report-dir", "/dev/null", "boot-full"), "/dev/null"),
        (("--into", "/nonexistent"), "there is no results.json in it"),
        (("--list", "--into", "x"), "--list: without --into"),
        (("--list", "-j", "1", "--accel", "tcg"), "--list: without --jobs, --accel"),
        (("--list", "--report-dir", "reports"), "--list: without --report-dir"),
        (("--fast", "boot-full"), "boot-full: without --fast"),
        (("--fault", "boot-full", "--only", "gc-no-estale"), "boot-full: without --o"),
        (("--json",), "--json: left out, or given with --list"),
    ],
)
def test_a_wrong_word_of_controls_is_one_message(
    args: tuple[str, ...], words: str
) -> None:
    """With status 2, before anything runs."""
    said = shell("", "controls", *args)
    assert said.rc == 2
    assert words in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize("command", ["controls", "before-after", "soak", "adopt"])
@pytest.mark.parametrize("option", ["fleet", "report"])
def test_a_place_that_is_not_there_is_one_message(
    tmp_path: Path, command: str, option: str
) -> None:
    """Before anything runs, and nothing is written."""
    (tmp_path / "file").touch()
    missing = str(tmp_path / "missing.toml")
    place = str(tmp_path / ("file" if option == "report" else "reports"))
    args = ["--fleet", missing if option == "fleet" else "fleet.toml"]
    args += ["--unit", missing] if command == "adopt" else []
    said = shell("", command, *args, "--report-dir", place)
    assert said.rc == 2
    assert (
        place if option == "report" and command != "adopt" else missing
    ) in said.stderr
    assert "Traceback" not in said.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_every_help_fits_the_terminal() -> None:
    """At 80 columns no sentence is cut, at 60 no line is longer."""
    groups = app.registered_commands
    names = [[str(each.name)] for each in groups] + [[], ["spec"], ["spec", "check"]]
    script = "from harness.cli import app\nimport sys\n"
    script += "for words in %r:\n"
    script += "    app([*words, '--help'], standalone_mode=False)\n"
    for columns in (80, 60):
        argv = ["env", f"COLUMNS={columns}", sys.executable, "-c", script % (names,)]
        said = process.run(argv, deadline=patient(50, "help"), cwd=ROOT).check().stdout
        assert [line for line in said.splitlines() if len(line) > columns] == []
        assert said.count("Usage: ") == len(names)
        cut = [line for line in said.splitlines() if re.search(r"\w\.\.\.$", line)]
        assert columns < 80 or cut == []
