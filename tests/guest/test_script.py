"""Scripts: that they are clean, run to their end, and say so when they do not."""

from __future__ import annotations

from contextlib import suppress
from importlib import resources
from typing import TYPE_CHECKING

import pytest

from harness.errors import MachineError
from harness.guest import (
    boot,
    heartbeat,
    inodes,
    jobs,
    lab,
    network,
    secrets,
    store,
    system,
    wire,
)
from harness.guest.script import Sections, ask, parse
from tests.waiting import patient

if TYPE_CHECKING:
    from collections.abc import Callable
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


READERS: tuple[Callable[[Sections], object], ...] = (
    boot.parse,
    secrets.parse,
    system.parse_state,
    lab.parse_state,
    inodes.parse_sample,
    inodes.parse_census,
    store.parse_live,
    network.parse_state,
    heartbeat.parse,
)


@pytest.mark.parametrize("noise", ["", "\x1ekernel\nx\n", "\x1ecounts\nerrors=\n"])
def test_an_answer_without_what_is_expected_is_named(noise: str) -> None:
    """As of a guest whose root is read-only: never a KeyError of the harness's own."""
    answer = parse("x.sh", f"{noise}\x1eunknown\n\x1eerrors\n\x1eend\n")
    for reader in READERS:
        with suppress(MachineError):
            reader(answer)
    with pytest.raises(MachineError, match=r"x\.sh") as refused:
        store.parse_reading(answer, frozenset())
    assert "KeyError" not in str(refused.value)


def test_what_is_missing_is_said_with_the_answer_and_a_hint() -> None:
    """The count of errors that a full disk could not take."""
    answer = parse("read.sh", "\x1ecounts\npaths=1\n\x1eunknown\n\x1eerrors\n\x1eend\n")
    with pytest.raises(MachineError) as refused:
        store.parse_reading(answer, frozenset())
    said = str(refused.value)
    assert "the guest's answer to read.sh cannot be read: no 'errors'" in said
    assert "| counts: paths=1" in said
    assert "read-only" in said


@pytest.mark.parametrize("answer", [None, 7, [], {}, {"other": 1}])
def test_an_answer_of_the_agent_without_its_part_is_named(answer: object) -> None:
    """Another program may answer in the agent's place."""
    with pytest.raises(MachineError, match="answer to guest-exec cannot be read"):
        wire.part(answer, "guest-exec", "pid")


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
