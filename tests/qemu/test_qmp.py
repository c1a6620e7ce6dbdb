"""QMP against a real QEMU, and against ends that misbehave."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING

import pytest

from harness.deadline import Deadline
from harness.errors import DeadlineExpired, MachineDied, MachineError
from harness.qemu import launch
from harness.qemu.qmp import connect
from tests.qemu.sector import plan

if TYPE_CHECKING:
    from pathlib import Path


def soon(seconds: float = 20) -> Deadline:
    """Give up after so many seconds."""
    return Deadline.after(seconds, "the test")


def test_executes_and_translates_refusals(directory: Path) -> None:
    """A value comes back, a refusal carries QEMU's own sentence."""
    with launch(plan(directory, paused=True), deadline=soon()) as emulator:
        assert emulator.qmp.execute("query-status")["status"] == "prelaunch"
        with pytest.raises(MachineError, match="bogus has not been found"):
            emulator.qmp.execute("bogus")
        with pytest.raises(MachineError, match="refused set_link"):
            emulator.qmp.execute("set_link", name="none", up=False)


def test_keeps_every_line_and_event(directory: Path) -> None:
    """qmp.jsonl has greeting, commands, answers and events; events have a time."""
    before = time.monotonic()
    with launch(plan(directory, paused=True), deadline=soon()) as emulator:
        emulator.qmp.execute("cont")
        resumed = emulator.qmp.wait_event("RESUME", deadline=soon())
        assert before < resumed.at <= time.monotonic()
        assert emulator.qmp.events[0] == resumed
    lines = [json.loads(x) for x in (directory / "qmp.jsonl").read_text().splitlines()]
    assert "QMP" in lines[0]["in"]
    assert any(line.get("out", {}).get("execute") == "cont" for line in lines)
    assert any(line.get("in", {}).get("event") == "RESUME" for line in lines)
    assert lines == sorted(lines, key=lambda line: float(line["at"]))


def test_says_who_is_gone(directory: Path) -> None:
    """A QEMU that was killed is MachineDied, for commands and for events."""
    with launch(plan(directory, paused=True), deadline=soon()) as emulator:
        emulator.kill()
        with pytest.raises(MachineDied):
            emulator.qmp.execute("query-status")
        with pytest.raises(MachineDied, match="ended before RESET"):
            emulator.qmp.wait_event("RESET", deadline=soon())


def test_a_silent_peer_costs_no_more_than_the_deadline(tmp_path: Path) -> None:
    """No greeting is a DeadlineExpired; nothing is left open."""
    ours, theirs = socket.socketpair()
    with (
        theirs,
        pytest.raises(DeadlineExpired, match="no QMP greeting"),
        connect(ours, tmp_path / "qmp.jsonl", soon(0.2)),
    ):
        pass


@pytest.mark.parametrize("said", [b"", b"not JSON\n", b'{"hello": "world"}\n'])
def test_a_peer_that_speaks_no_qmp_is_refused(tmp_path: Path, said: bytes) -> None:
    """End of file or garbage instead of a greeting is reported at once."""
    ours, theirs = socket.socketpair()
    theirs.sendall(said)
    theirs.shutdown(socket.SHUT_WR)
    with (
        theirs,
        pytest.raises(MachineDied, match="before its greeting"),
        connect(ours, tmp_path / "qmp.jsonl", soon()),
    ):
        pass
