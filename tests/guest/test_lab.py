"""The lab view: recorded answers, and a tmux server that really runs here."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.deadline import Deadline, poll
from harness.errors import MachineError
from harness.guest import lab
from harness.guest.lab import Lab, LabState
from harness.guest.script import parse
from tests.waiting import patient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.guest.heartbeat import Heartbeat
    from tests.guest.conftest import LocalGuest

HASH = "0123456789abcdfghijklmnpqrsvwxyz"
STAT = "S 1 {pid} {pid} 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 {start} 9 9 9"

RECORDED = f"""\
\x1eunit
LoadState=loaded
ActiveState=active
MainPID=500
NRestarts=2
InvocationID=0f0f
ControlGroup=/system.slice/lab.service
KillMode=process
ExecStart={{ path=/nix/store/{HASH}-lab/bin/lab ; argv[]=/nix/store/{HASH}-lab/bin/lab \
--port 8080 ; ignore_errors=no ; start_time=[n/a] ; stop_time=[n/a] ; pid=0 }}
\x1etmux
600 601 0 1763900001 /dev/pts/0 alpha
600 602 1 1763900002 /dev/pts/1 beta gamma
0
\x1emanager
700
\x1efiles
/proc/500/stat:500 (lab) {STAT.format(pid=500, start=1234)}
/proc/500/cgroup:0::/system.slice/lab.service
/proc/600/stat:600 (tmux: server) {STAT.format(pid=600, start=1300)}
/proc/600/cgroup:0::/system.slice/lab.service
/proc/601/stat:601 (a) b) {STAT.format(pid=601, start=1400).replace("S", "T", 1)}
/proc/601/cgroup:0::/user.slice
/proc/700/stat:700 (systemd) {STAT.format(pid=700, start=1100)}
/proc/700/cgroup:0::/user.slice/user-990.slice/user@990.service/init.scope
/sys/fs/cgroup/system.slice/lab.service/cgroup.procs:500
/sys/fs/cgroup/system.slice/lab.service/cgroup.procs:600
/sys/fs/cgroup/system.slice/lab.service/cgroup.subtree_control:
\x1eexes
/proc/500/exe -> /nix/store/{HASH}-lab/bin/lab
/proc/600/exe -> /nix/store/{HASH}-tmux/bin/tmux (deleted)
\x1esockets
/tmp/tmux-990/default
\x1euptime
99.50
\x1ehttp
HTTP/1.0 200 OK\r
Content-Type: text/html\r
\r
<li>alpha</li>

\x1eend
"""


def recorded(**changes: str) -> LabState:
    """Read the recorded answer with some of its text replaced."""
    text = RECORDED
    for old, new in changes.items():
        text = text.replace(old, new)
    return lab.parse_state(parse("lab.bash", text))


def test_a_recorded_state_is_read_whole() -> None:
    """Identities, homes and properties each go to their field."""
    state = recorded()
    assert state.main_pid == 500
    assert state.main is not None
    assert state.main.identity == (500, 1234)
    assert state.exe == state.exec_start == f"/nix/store/{HASH}-lab/bin/lab"
    assert state.exec_argv.endswith("--port 8080")
    assert state.n_restarts == 2
    assert state.invocation_id == "0f0f"
    assert state.kill_mode == "process"
    assert state.server is not None
    assert state.server.command == "tmux: server"
    assert state.server.exe == f"/nix/store/{HASH}-tmux/bin/tmux (deleted)"
    assert state.manager is not None
    assert state.manager.identity == (700, 1100)
    alpha = state.sessions["alpha"]
    assert alpha.identity == ("alpha", 601, 1400, "/dev/pts/0")
    assert alpha.process is not None
    assert alpha.process.command == "a) b"
    assert alpha.process.stopped
    assert state.sessions["beta gamma"].dead
    assert state.sessions["beta gamma"].process is None
    assert state.cgroup_pids == (500, 600)
    assert state.subtree_control == ""
    assert state.sockets == ("/tmp/tmux-990/default",)  # noqa: S108
    assert (state.status, "alpha" in state.page) == (200, True)
    assert state.healthy


def test_a_session_outside_the_unit_is_a_stray() -> None:
    """Where a session lives decides whether a stop can reach it."""
    assert recorded().strays == ("alpha",)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<li>alpha</li>", "none"),
        ("200 OK", "500 Oh"),
        ("HTTP/1.0 200 OK", ""),
        ("ActiveState=active", "ActiveState=failed"),
    ],
)
def test_what_is_not_healthy(old: str, new: str) -> None:
    """A lab that is down, answers wrong or forgets a session is not healthy."""
    assert not recorded(**{old: new}).healthy


def test_a_lab_without_a_server() -> None:
    """Without a tmux server there are no sessions, and tmux says why."""
    text = RECORDED.partition("\x1etmux")[0] + (
        "\x1etmux\nno server running on /tmp/tmux-990/default\n1\n"
        "\x1emanager\n\x1efiles\n\x1eexes\n\x1esockets\n\x1euptime\n1.0\n\x1ehttp\n\x1eend\n"
    )
    state = lab.parse_state(parse("lab.bash", text))
    assert state.server is None
    assert state.manager is None
    assert not state.sessions
    assert "no server running" in state.tmux_error
    assert state.status is None


class LabPage(BaseHTTPRequestHandler):
    """Answers with a page that names a session."""

    def do_GET(self) -> None:
        """Answer any path."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<p>sessions:\n\n beat</p>\nno newline at the end")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    """Serve a page for the length of a test."""
    with ThreadingHTTPServer(("127.0.0.1", 0), LabPage) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def here(guest: LocalGuest, tmp_path: Path, port: int) -> Iterator[Lab]:
    """Return a lab whose tmux server is private to the test and runs for real."""
    if not shutil.which("tmux"):
        pytest.skip("tmux is not installed")
    user = pwd.getpwuid(os.getuid()).pw_name
    yield Lab(guest, unit="", user=user, port=port, tmux_directory=str(tmp_path))
    socket = tmp_path / f"tmux-{os.getuid()}" / "default"
    guest.execute("tmux", "-S", str(socket), "kill-server")


def test_sessions_are_seen_where_they_run(here: Lab, tmp_path: Path) -> None:
    """PIDs, start times and terminals are the kernel's; they stay while it lives."""
    assert here.state().server is None
    pid = here.start_session("one", "exec cat")
    other = here.start_session("two")
    state = here.state()
    assert state.server is not None
    assert state.server.command == "tmux: server"
    assert {name: s.pid for name, s in state.sessions.items()} == {
        "one": pid,
        "two": other,
    }
    one = state.sessions["one"]
    assert one.process is not None
    assert one.process.command == "cat"
    assert one.pty.startswith("/dev/pts/")
    assert one.process.start == starttime(pid)
    # Other tests may run servers of the same user at this moment.
    ours = [s for s in state.sockets if s.startswith(f"{tmp_path}/")]
    assert ours == [f"{tmp_path}/tmux-{os.getuid()}/default"]
    assert state.status == 200
    assert state.page.endswith("no newline at the end\n")
    assert state.unlisted == ("one", "two")
    assert here.state().sessions["one"].identity == one.identity


def test_an_ended_session_is_gone(here: Lab) -> None:
    """A session whose process ends disappears; another of its name is another."""
    here.start_session("stays", "exec cat")
    first = here.start_session("one", "exec cat")
    os.kill(first, signal.SIGKILL)
    poll(lambda: None if "one" in here.state().sessions else True, soon())
    again = here.start_session("one", "exec cat")
    assert again != first


def test_what_is_typed_is_echoed_and_answered(here: Lab) -> None:
    """A program that reads answers; one that is stopped leaves only the echo."""
    here.start_session("one", "exec cat")
    here.start_session("two")
    for session in ("one", "two"):
        echo = here.echo(session, seconds=10)
        assert echo.echoed
        assert echo.answered, echo.screen
    here.type("two", "echo a$((1+1))b")
    poll(lambda: "a2b" in here.screen("two") or None, soon())


def test_a_stopped_program_leaves_only_the_echo(here: Lab) -> None:
    """The terminal echoes for a program that does not run; nothing answers."""
    # A child, because tmux continues what it started itself.
    pid = here.start_session("one", "cat; true")
    children = Path(f"/proc/{pid}/task/{pid}/children")
    child = int(poll(lambda: children.read_text().strip() or None, soon()))
    assert here.echo("one", seconds=10).answered
    os.kill(child, signal.SIGSTOP)
    echo = here.echo("one", seconds=0.5)
    assert echo.echoed
    assert not echo.answered


def test_a_session_that_does_not_exist(here: Lab) -> None:
    """Typing into nothing is an error, as is a name that tmux would change."""
    with pytest.raises(MachineError, match="no session at =gone:"):
        here.type("gone", "x")
    with pytest.raises(MachineError, match="no name for a session"):
        here.start_session("a.b")


def test_a_session_that_is_gone_does_not_answer(here: Lab) -> None:
    """Whether it answers is a question about the guest, and then the answer is no."""
    echo = here.echo("gone", seconds=0.5)
    assert not echo.answered
    assert not echo.echoed


def test_one_can_attach_and_work(here: Lab) -> None:
    """A separate terminal shows what is typed there and the answer."""
    here.start_session("one", "exec cat")
    for _ in range(2):
        seat = here.attach("one", seconds=10)
        assert seat.answered, seat.screen
        assert "[one]" in seat.screen
        assert len(here.state().sessions) == 1


def test_who_cannot_attach_sees_why(here: Lab, guest: LocalGuest) -> None:
    """Be it that the session is gone, or that the server refuses the client."""
    here.start_session("one", "exec cat")
    gone = here.attach("two", seconds=10)
    assert not gone.echoed
    assert "can't find session: two" in gone.screen
    refusal = "open terminal failed: not a terminal"
    tmux = shutil.which("tmux")
    attach = f'if [ "$3" = attach-session ]; then echo "{refusal}"; exit 1; fi'
    guest.program("tmux", f'{attach}\nexec {tmux} "$@"')
    refused = here.attach("one", seconds=10)
    assert not refused.echoed
    assert refusal in refused.screen
    assert here.echo("one").answered


def test_a_heartbeat_beats_in_its_session(
    here: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session writes its own beats; stopping it shows, typing into it does not."""
    monkeypatch.setattr(lab, "_LOGS", str(tmp_path / "logs"))
    pid = here.start_heartbeat("beat")
    beaten(here, 5)
    assert here.echo("beat", seconds=0.3).echoed
    healthy = beaten(here, 10)
    assert healthy.unbroken
    assert healthy.pids == (pid,)
    server = here.state().server
    assert server is not None
    # The server first, because it continues what it started.
    os.kill(server.pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGSTOP)
    before = here.heartbeats("beat")
    poll(lambda: here.heartbeats("beat").longest_gap_ms > 1500 or None, soon())
    os.kill(pid, signal.SIGCONT)
    os.kill(server.pid, signal.SIGCONT)
    after = beaten(here, len(before.beats) + 3)
    assert after.unbroken
    assert after.longest_gap_ms > 1500
    assert after.since(before.now).longest_gap_ms > 1500


def test_a_heartbeat_starts_no_process(
    here: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its start a heartbeat forks nothing, so it disturbs nothing."""
    monkeypatch.setattr(lab, "_LOGS", str(tmp_path / "logs"))
    pid = here.start_heartbeat("beat")
    first = len(beaten(here, 2).beats)
    children = Path(f"/proc/{pid}/task/{pid}/children")
    seen = set()
    while len(here.heartbeats("beat").beats) < first + 5:
        seen.add(children.read_text())
    assert seen == {""}


def test_a_killed_heartbeat_does_not_look_alive(
    here: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The silence after its end grows."""
    monkeypatch.setattr(lab, "_LOGS", str(tmp_path / "logs"))
    here.start_session("stays", "exec cat")
    pid = here.start_heartbeat("beat")
    beaten(here, 3)
    os.kill(pid, signal.SIGKILL)
    poll(lambda: here.heartbeats("beat").longest_gap_ms > 1000 or None, soon())
    silent = here.heartbeats("beat")
    assert replace(silent, now=silent.beats[-1].at).longest_gap_ms < 1000


def soon() -> Deadline:
    """Give up long after a healthy test has ended."""
    return patient(20, "the test")


def beaten(here: Lab, count: int) -> Heartbeat:
    """Wait for so many beats."""

    def enough() -> Heartbeat | None:
        read = here.heartbeats("beat")
        return read if len(read.beats) >= count else None

    return poll(enough, soon())


def starttime(pid: int) -> int:
    """Read a start time the other way round: from the end of the line."""
    fields = Path(f"/proc/{pid}/stat").read_text().split(") ")[-1].split()
    return int(fields[19])
