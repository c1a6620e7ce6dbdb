"""Run directories and the machines in them, with real locks, sockets and deaths."""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest

from harness import process
from harness.cli.running import RunningMachine, find, find_site, running
from harness.deadline import poll
from harness.errors import InputError
from harness.runtime import runtime_directory
from harness.testbed import announce
from tests.waiting import patient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ADDRESS = IPv4Address("10.42.97.16")
HOLD = """
import sys, time
from pathlib import Path
from harness.runtime import runtime_directory
from harness.testbed import announce
with runtime_directory(Path(sys.argv[1])) as directory:
    (directory / "disk").write_text("big")
    (directory / "held").touch()
    sys.stdin.read()
"""

INTERRUPTED = """
import os, signal
from harness import process
from harness.cli.up import interrupts_held
with interrupts_held(), process.spawn(["sleep", "60"]) as child:
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(child.pid, signal.SIGINT)
    assert signal.sigtimedwait({signal.SIGINT}, 5) is not None
    os.kill(os.getpid(), signal.SIGINT)
    assert process.alive(child.pid)
    print("child lives,")
assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
print("all restored")
"""


@contextmanager
def machine(
    directory: Path, stage: str = "", client: tuple[str, ...] = ("enter",)
) -> Iterator[RunningMachine]:
    """Listen where a machine's console and agent would."""
    directory.mkdir(parents=True)
    with ExitStack() as stack:
        for name in ("console.sock", "agent.sock"):
            wire = stack.enter_context(socket.socket(socket.AF_UNIX))
            wire.bind(str(directory / name))
            wire.listen()
        found = RunningMachine(directory.name, directory)
        if stage:
            found = RunningMachine(
                directory.name, directory, stage, os.getpid(), ADDRESS, 8080, client
            )
            facts = {"name": found.name, "stage": stage, "pid": found.pid}
            more = {"ip": str(ADDRESS), "lab_port": 8080, "client": list(client)}
            announce.write(directory, {**facts, **more})
        yield found


def test_a_run_directory_is_private_and_goes_with_its_run(tmp_path: Path) -> None:
    """Mode 0700 while it is held, nothing but the root's lock afterwards."""
    with runtime_directory(tmp_path) as directory:
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert [path.name for path in tmp_path.iterdir()] in ([], ["lock"])


def test_the_next_run_sweeps_what_a_killed_one_left(tmp_path: Path) -> None:
    """A live run keeps its directory, a killed one does not."""
    argv = [sys.executable, "-c", HOLD, str(tmp_path)]
    with process.spawn(argv, stdin=process.PIPE, grace=1) as holder:
        waited = patient(20, "the other process to hold its directory")
        held = poll(lambda: next(tmp_path.glob("*/held"), None), waited)
        with runtime_directory(tmp_path):
            assert held.exists()
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        assert held.exists()
        with runtime_directory(tmp_path):
            assert not held.parent.exists()


def test_a_running_machine_is_found_with_and_without_its_name(tmp_path: Path) -> None:
    """What `harness up` announced comes back in another process's words."""
    with machine(tmp_path / "a1/dev", "onboarded") as dev:
        assert find(None, tmp_path) == dev
        assert find("dev", tmp_path) == dev
        assert find(str(dev.directory), tmp_path).stage == "onboarded"


def test_a_machine_that_a_test_kept_is_found_too(tmp_path: Path) -> None:
    """It announces nothing and lies a directory deeper."""
    with machine(tmp_path / "a1/0/dev") as dev:
        assert running(tmp_path) == [dev]


def test_sockets_of_a_dead_machine_are_no_machine(tmp_path: Path) -> None:
    """A socket file stays when its process has ended; no process listens there."""
    with machine(tmp_path / "a1/dev", "onboarded"):
        pass
    assert running(tmp_path) == []
    with pytest.raises(InputError, match="no machine runs"):
        find("dev", tmp_path)


def test_two_machines_need_a_name(tmp_path: Path) -> None:
    """The message lists those there are."""
    with machine(tmp_path / "a1/dev"), machine(tmp_path / "a2/openclaw"):
        with pytest.raises(InputError, match="several machines run") as caught:
            find(None, tmp_path)
        assert {fault.key for fault in caught.value.mistakes} == {"dev", "openclaw"}
        with pytest.raises(InputError, match="no machine 'old' runs"):
            find("old", tmp_path)
        assert find("openclaw", tmp_path).name == "openclaw"


def test_a_console_in_use_does_not_hold_up_the_list(tmp_path: Path) -> None:
    """QEMU takes one client, and its queue is soon full of those that only looked."""
    with machine(tmp_path / "a1/dev", "onboarded") as dev:
        for _ in range(300):  # more than any queue's length in tests/cli
            assert running(tmp_path) == [dev]


def test_a_site_is_found_by_any_of_its_machines(tmp_path: Path) -> None:
    """Two machines on one LAN need no name, two LANs do."""
    with (
        machine(tmp_path / "a1/dev", "onboarded", ("a1",)),
        machine(tmp_path / "a1/openclaw", "onboarded", ("a1",)),
    ):
        assert find_site(None, tmp_path).client == ("a1",)
        with machine(tmp_path / "a2/dev2", "onboarded", ("a2",)):
            with pytest.raises(InputError, match="several machines run"):
                find_site(None, tmp_path)
            assert find_site("dev2", tmp_path).client == ("a2",)


def test_a_machine_that_is_not_announced_yet_has_no_network(tmp_path: Path) -> None:
    """Its client cannot be entered, and the message says so."""
    with (
        machine(tmp_path / "a1/0/dev"),
        pytest.raises(InputError, match="the network of dev is not known"),
    ):
        find_site(None, tmp_path)


def test_a_held_interrupt_reaches_neither_us_nor_our_children() -> None:
    """Ctrl-C goes to the whole terminal; only the wait at the end may see it."""
    # In a process of its own: pytest's workers have threads that are not held.
    deadline = patient(30, "the interrupted process")
    said = process.run([sys.executable, "-c", INTERRUPTED], deadline=deadline).check()
    assert said.stdout.split() == ["child", "lives,", "all", "restored"]
