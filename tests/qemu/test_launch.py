"""A QEMU process: started, watched, and ended in every case."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from harness.deadline import Deadline, poll
from harness.errors import GuestPanicked, LaunchFailed, MachineDied
from harness.process import alive, run
from harness.qemu import Emulator, launch
from tests.qemu.sector import BANNER, READY, plan
from tests.waiting import patient


def soon(awaited: str = "the test") -> Deadline:
    """Give up after 20 s."""
    return patient(20, awaited)


def type_keys(emulator: Emulator, keys: str) -> str:
    """Type into the guest and return its answer, one byte per key."""
    console = emulator.console
    mark = console.size
    console.send(keys)
    poll(lambda: console.size >= mark + len(keys) or None, soon("the guest's answer"))
    return console.since(mark)


def test_boots_through_firmware_and_its_own_boot_sector(
    directory: Path, sector: Path
) -> None:
    """The console has everything, from its first byte, and takes input."""
    with launch(plan(directory, sector), deadline=soon()) as emulator:
        emulator.console.wait_for(BANNER + "0\n", soon("the guest"))
        assert type_keys(emulator, "abc") == "123"
        assert emulator.console.text.startswith(BANNER)
        assert emulator.console.tail(1) == ["123"]


def test_leaves_nothing_running_but_its_records(directory: Path) -> None:
    """After the `with`: no process, no thread, no open socket; four files."""
    threads = set(threading.enumerate())
    with launch(plan(directory, paused=True), deadline=soon()) as emulator:
        assert alive(emulator.pid)
        assert psutil.Process(emulator.pid).name().startswith("qemu-system")
    assert not alive(emulator.pid)
    assert emulator.rungs == ["quit"]
    assert set(threading.enumerate()) == threads
    kept = {path.name for path in directory.iterdir() if not path.is_socket()}
    assert kept == {"argv.txt", "console.log", "qemu.log", "qmp.jsonl"}


def test_listens_on_unix_sockets_only(directory: Path) -> None:
    """No TCP port is open, not even on the loopback; the directory is private."""
    private = directory / "machine"
    with launch(plan(private, paused=True), deadline=soon()) as emulator:
        kinds = {c.type for c in psutil.Process(emulator.pid).net_connections("inet")}
        assert kinds == set()
        assert private.stat().st_mode & 0o777 == 0o700


def test_a_body_that_raises_ends_qemu_too(directory: Path) -> None:
    """The body's error comes through as it was."""
    with (
        pytest.raises(ZeroDivisionError),
        launch(plan(directory, paused=True), deadline=soon()) as emulator,
    ):
        raise ZeroDivisionError
    assert not alive(emulator.pid)


def test_a_command_line_that_qemu_refuses_is_told_in_its_words(
    directory: Path,
) -> None:
    """LaunchFailed has QEMU's message, its status and the command line."""
    bad = plan(directory, extra=("-device", "no-such-device"))
    with pytest.raises(LaunchFailed) as caught, launch(bad, deadline=soon()):
        pass
    text = str(caught.value)
    assert "exit status 1" in text
    assert "'no-such-device' is not a valid device model name" in text
    assert "-nodefaults" in text


def test_a_qemu_deaf_to_quit_and_sigterm_is_killed(directory: Path) -> None:
    """Each rung of the ladder is tried in turn, and noted."""
    with launch(plan(directory, paused=True), deadline=soon()) as emulator:
        os.kill(emulator.pid, signal.SIGSTOP)
        emulator.power_off(grace=0.2)
        assert emulator.rungs == ["quit", "SIGTERM", "SIGKILL"]
        assert not emulator.running


def test_a_killed_qemu_ends_waits_at_once(directory: Path, sector: Path) -> None:
    """A wait on the console raises MachineDied, far before its deadline."""
    with launch(plan(directory, sector), deadline=soon()) as emulator:
        emulator.console.wait_for(READY, soon("the guest"))
        killer = threading.Timer(0.2, os.kill, (emulator.pid, signal.SIGKILL))
        killer.start()
        started = time.monotonic()
        with pytest.raises(MachineDied) as caught:
            emulator.console.wait_for("never printed", soon("nothing"))
        assert time.monotonic() - started < 10
        assert BANNER + "0" in str(caught.value)
        killer.join()


def test_a_panic_seen_by_pvpanic_ends_waits_at_once(
    directory: Path, sector: Path
) -> None:
    """The guest's own report is an event; QEMU ends itself, the panic is the cause."""
    with launch(plan(directory, sector), deadline=soon()) as emulator:
        emulator.console.wait_for(READY, soon("the guest"))
        emulator.console.send("P")
        with pytest.raises(GuestPanicked, match="pvpanic"):
            emulator.console.wait_for("never printed", soon("nothing"))


def test_a_panic_seen_on_the_console_ends_waits_at_once(
    directory: Path, sector: Path
) -> None:
    """A kernel that dies before it has a pvpanic driver is noticed, too."""
    with launch(plan(directory, sector), deadline=soon()) as emulator:
        emulator.console.wait_for(READY, soon("the guest"))
        emulator.console.send("K")
        with pytest.raises(GuestPanicked, match="not syncing: asked to"):
            emulator.console.wait_for("never printed", soon("nothing"))
        emulator.tolerates_panic = True
        emulator.check()


def test_an_earlier_runs_panic_is_not_this_runs(directory: Path, sector: Path) -> None:
    """The console log goes on from run to run; only new text counts."""
    (directory / "console.log").write_text("Kernel panic - not syncing: old\n")
    with launch(plan(directory, sector), deadline=soon()) as emulator:
        emulator.console.wait_for(READY, soon("the guest"))
        emulator.check()


def test_the_guests_reset_and_power_off_are_its_own(
    directory: Path, sector: Path
) -> None:
    """QMP names the cause; after a power off QEMU ends with status 0."""
    with launch(plan(directory, sector), deadline=soon()) as emulator:
        emulator.console.wait_for(READY, soon("the guest"))
        mark = emulator.console.size
        emulator.console.send("R")
        event = emulator.qmp.wait_event("RESET", deadline=soon())
        assert event.data["reason"] == "guest-reset"
        emulator.console.wait_for(READY, soon("the guest again"), since=mark)
        emulator.console.send("Q")
        event = emulator.qmp.wait_event("SHUTDOWN", deadline=soon())
        assert event.data["reason"] == "guest-shutdown"
        assert emulator.wait_end(soon()) == 0
        assert emulator.rungs == []


def test_finds_qemu_behind_the_command_that_entered(directory: Path) -> None:
    """`pid` is QEMU's even where the spawned process is a forking wrapper."""
    wrapper = ["sh", "-c", '"$@"; exit $?', "sh"]
    with launch(
        plan(directory, paused=True),
        deadline=soon(),
        enter=lambda argv: [*wrapper, *argv],
    ) as emulator:
        assert emulator.pid != emulator.process.pid
        assert psutil.Process(emulator.pid).name().startswith("qemu-system")
    assert not alive(emulator.pid)


def test_a_killed_owner_takes_qemu_along(directory: Path) -> None:
    """Without a site too, where no sandbox would see to it."""
    script = (
        "from pathlib import Path; from harness.deadline import Deadline;"
        "from harness.qemu import launch; from tests.qemu.sector import plan; import os"
        f"\nwith launch(plan(Path({str(directory)!r}), paused=True),"
        " deadline=Deadline.after(20, 'QEMU')) as emulator:"
        "\n    print(emulator.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    root = str(Path(__file__).parents[2])
    ended = run([sys.executable, "-c", script], deadline=soon(), cwd=Path(root))
    assert ended.rc == -signal.SIGKILL
    pid = int(ended.stdout)
    poll(lambda: None if alive(pid) else True, soon("QEMU to be gone"))


def test_ctrl_c_in_the_terminal_is_not_for_qemu(directory: Path) -> None:
    """It is in a session of its own; its end stays ours to order."""
    with launch(plan(directory, paused=True), deadline=soon()) as emulator:
        assert os.getsid(emulator.pid) != os.getsid(0)
        assert emulator.pid == emulator.process.pid


def test_leftover_sockets_do_not_matter(directory: Path) -> None:
    """A killed run leaves its sockets; the next one takes their places."""
    for name in ("agent.sock", "console.sock", "monitor.sock"):
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(directory / name))
    with launch(plan(directory, paused=True), deadline=soon()) as emulator:
        assert emulator.running
