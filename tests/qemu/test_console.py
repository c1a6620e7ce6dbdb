"""The console: its output, its input, and a user at it."""

from __future__ import annotations

import os
import pty
import re
import termios
import threading
from typing import TYPE_CHECKING

import pytest

from harness.deadline import Deadline, poll
from harness.errors import DeadlineExpired, MachineError
from harness.qemu import Console, launch
from tests.qemu.sector import READY, plan
from tests.qemu.test_launch import soon, type_keys

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def console(tmp_path: Path) -> Console:
    """Give a console whose machine does not run."""
    return Console(tmp_path / "console.log", tmp_path / "console.sock")


def test_text_is_what_a_person_would_read(console: Console, tmp_path: Path) -> None:
    """Colours, cursor movements and carriage returns are left out."""
    raw = (
        b"\x1b[0;1;32m  OK  \x1b[0m Started \xc3\xa4\xff\r\n"
        b"\x1b[?7l\x1b]104\x1b\\\x1b[6nlogin: "
    )
    (tmp_path / "console.log").write_bytes(raw)
    assert console.text == "  OK   Started \u00e4\ufffd\nlogin: "
    assert console.size == len(raw)


def test_a_console_that_never_printed_is_empty(console: Console) -> None:
    """No log yet is no error."""
    assert (console.text, console.size, console.tail()) == ("", 0, [])


def test_waiting_in_vain_names_the_last_line(console: Console, tmp_path: Path) -> None:
    """Only text after the mark counts."""
    (tmp_path / "console.log").write_text("login: \nfirst\nlast\n")
    assert console.wait_for("fir.t", soon())[0] == "first"
    with pytest.raises(DeadlineExpired, match="seen: last"):
        console.wait_for("login", Deadline.after(0, "a prompt"), since=9)


def test_the_watcher_is_heard_before_the_deadline(console: Console) -> None:
    """An error of the check ends the wait."""

    def dead() -> None:
        raise MachineError("gone")

    console.watch(dead)
    with pytest.raises(MachineError, match="gone"):
        console.wait_for("login", soon())


def test_typing_without_a_machine_is_an_error(console: Console) -> None:
    """It names the socket."""
    with pytest.raises(MachineError, match=re.escape("console.sock")):
        console.send("x")


def test_long_input_arrives_whole(directory: Path, sector: Path) -> None:
    """The guest's port takes a few bytes at a time; hanging up must not lose any."""
    with launch(plan(directory, sector), deadline=soon()) as emulator:
        emulator.console.wait_for(READY, soon("the guest"))
        mark = emulator.console.size
        type_keys(emulator, "x" * 200)
        assert type_keys(emulator, "W") == "w"
        assert emulator.console.size == mark + 201


def test_a_person_attaches_and_leaves_by_the_escape_key(
    directory: Path, sector: Path
) -> None:
    """Keys go in, answers come out, Ctrl-] ends it, the terminal is as before."""
    with launch(plan(directory, sector), deadline=soon()) as emulator:
        emulator.console.wait_for(READY, soon("the guest"))
        keyboard, terminal = pty.openpty()
        before = termios.tcgetattr(terminal)
        done = threading.Thread(
            target=emulator.console.attach, args=(terminal, terminal)
        )
        done.start()
        # Whatever was typed before a terminal is made raw is thrown away.
        poll(lambda: termios.tcgetattr(terminal) != before or None, soon("raw mode"))
        os.write(keyboard, b"abc")
        screen = b""
        while screen != b"123":
            screen += os.read(keyboard, 100)
        os.write(keyboard, b"d\x1dnever sent")
        done.join(10)
        assert not done.is_alive()
        emulator.console.wait_for("1234", soon("the last key"))
        assert termios.tcgetattr(terminal) == before
        os.close(keyboard)
        os.close(terminal)
        assert type_keys(emulator, "x") == "5"


def test_attaching_ends_with_qemu(directory: Path, sector: Path) -> None:
    """The end of the console ends the session of the terminal."""
    with launch(plan(directory, sector), deadline=soon()) as emulator:
        emulator.console.wait_for(READY, soon("the guest"))
        (keyboard, ours), (screen, shown) = os.pipe(), os.pipe()
        done = threading.Thread(target=emulator.console.attach, args=(keyboard, shown))
        done.start()
        os.write(ours, b"x")
        assert os.read(screen, 1)  # it is attached, for the guest has answered
        emulator.kill()
        done.join(10)
        for handle in (keyboard, ours, screen, shown):
            os.close(handle)
        assert not done.is_alive()
