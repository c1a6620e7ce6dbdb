"""Scripts: that they are clean, run to their end, and say so when they do not."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

import pytest

from harness.errors import MachineError
from harness.guest import jobs
from harness.guest.script import ask, parse
from tests.waiting import patient

if TYPE_CHECKING:
    from pathlib import Path

    from tests.guest.conftest import LocalGuest

SCRIPTS = resources.files("harness.guest") / "scripts"


def test_sections_come_apart() -> None:
    """A section is the text between two marks, the same name twice is one section."""
    sections = parse(
        "x.sh", "noise\n\x1ea\n1\n2\n\x1eb\nk=v=w\nk=2\n\x1ea\n3\n\x1eend\n"
    )
    assert sections.lines("a") == ["1", "2", "3"]
    assert sections.pairs("b") == {"k": "v=w"}
    assert sections.names() == ["a", "b", "end"]
    with pytest.raises(MachineError, match="no section 'c'"):
        sections.text("c")


def test_half_an_answer_is_no_answer() -> None:
    """An incomplete answer of a script is an error of the instrument."""
    with pytest.raises(MachineError, match="did not run to its end"):
        parse("x.sh", "\x1ea\n1\n")


def test_a_question_that_cannot_be_answered(guest: LocalGuest) -> None:
    """A script that gives up says why, in the error."""
    with pytest.raises(MachineError, match="no user nobody-here"):
        ask(guest, "lab.bash", "lab.service", "nobody-here", "1", "/tmp")  # noqa: S108


def test_a_job_runs_while_others_are_asked(
    guest: LocalGuest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job's output can be looked at meanwhile, and its end waited for."""
    monkeypatch.setattr(jobs, "DIRECTORY", str(tmp_path))
    fifo = tmp_path / "fifo"
    script = f"mkfifo {fifo}; echo 'it runs: $x'; cat {fifo}; exit 7"
    job = jobs.start(guest, "one", script)
    assert job.ended is False
    guest.execute("sh", "-c", f"until [ -p {fifo} ]; do :; done; echo on > {fifo}")
    ended = job.wait(10)
    assert (ended.rc, ended.output) == (7, "it runs: $x\non\n")
    assert 0 <= ended.duration_s < 10
    assert job.output == ended.output


def test_a_job_that_was_killed_left_no_word(
    guest: LocalGuest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed job is the instrument's fault, not an exit status."""
    monkeypatch.setattr(jobs, "DIRECTORY", str(tmp_path))
    job = jobs.start(guest, "two", "echo begun; sleep 30")
    guest.execute("sh", "-c", f"until [ -s {tmp_path}/two/output ]; do :; done")
    guest.agent.kill(int(job.pid), patient(10, "the kill"))
    with pytest.raises(MachineError, match="left no exit status"):
        job.wait(10)
