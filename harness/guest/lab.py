"""The lab view: the service, its tmux server, its sessions, and what proves them alive.

What lab is stands in the guest contract: a unit whose sessions live in the service
user's own tmux server on tmux's default socket, and a page that names them.
"""

from __future__ import annotations

import re
import secrets
import shlex
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from harness.errors import MachineError
from harness.guest import heartbeat, jobs, proc
from harness.guest.script import Sections, ask, load, readable, reads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.guest.heartbeat import Heartbeat
    from harness.guest.jobs import Job
    from harness.guest.proc import Process
    from harness.guest.transport import Guest

_LOGS = "/var/tmp/acceptance"  # noqa: S108  # a path in the guest
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_PANE = re.compile(r"^(\d+) (\d+) ([01]) (\d*) (\S+) (.+)$")
_EXEC = re.compile(r"path=(\S+) ; argv\[\]=(.*?) ; ")
_STATUS = re.compile(r"^HTTP/\S+ (\d{3})")


@dataclass(frozen=True, slots=True)
class Session:
    """One lab session: the process in its pane and the terminal it has.

    `process` is None when the pane's process is gone; `created` is in seconds since
    1970, by tmux's account.
    """

    name: str
    pid: int
    pty: str
    dead: bool
    created: int
    process: Process | None

    @property
    def identity(self) -> tuple[str, int, int | None, str]:
        """What must not change while the session lives on."""
        start = self.process.start if self.process else None
        return (self.name, self.pid, start, self.pty)

    def fact(self) -> dict[str, object]:
        """Return what must not change while the session lives on, for checks."""
        start = self.process.start if self.process else None
        return {"PID": self.pid, "started at tick": start, "terminal": self.pty}


@dataclass(frozen=True, slots=True)
class LabState:
    """Lab at one moment; `uptime` in seconds says which.

    `properties` is what systemd says of the unit; `main` is its main process, `server`
    the tmux server, `manager` the systemd of lab's user, None for one without linger.
    `status` is the HTTP status of `GET /` asked from inside, None without an answer.
    `sockets` are the tmux servers' listening sockets: one is right.
    """

    uptime: float
    properties: Mapping[str, str]
    main: Process | None
    server: Process | None
    manager: Process | None
    sessions: Mapping[str, Session]
    tmux_error: str
    sockets: tuple[str, ...]
    cgroup_pids: tuple[int, ...]
    subtree_control: str
    status: int | None
    page: str

    @property
    def active_state(self) -> str:
        """The unit's ActiveState."""
        return self.properties.get("ActiveState", "")

    @property
    def main_pid(self) -> int:
        """The unit's MainPID, 0 when it has none."""
        return int(self.properties.get("MainPID", "0"))

    @property
    def invocation_id(self) -> str:
        """Systemd's name for this one start of the unit."""
        return self.properties.get("InvocationID", "")

    @property
    def n_restarts(self) -> int:
        """How often systemd restarted the unit (NRestarts)."""
        return int(self.properties.get("NRestarts", "0"))

    @property
    def kill_mode(self) -> str:
        """The unit's KillMode as loaded."""
        return self.properties.get("KillMode", "")

    @property
    def control_group(self) -> str:
        """The unit's cgroup, from the root of the hierarchy."""
        return self.properties.get("ControlGroup", "")

    @property
    def exec_start(self) -> str:
        """The program of ExecStart."""
        found = _EXEC.search(self.properties.get("ExecStart", ""))
        return found[1] if found else ""

    @property
    def exec_argv(self) -> str:
        """The whole command of ExecStart."""
        found = _EXEC.search(self.properties.get("ExecStart", ""))
        return found[2] if found else ""

    @property
    def exe(self) -> str | None:
        """The file that the main process really runs."""
        return self.main.exe if self.main else None

    @property
    def healthy(self) -> bool:
        """Whether the unit is active and its page answers 200, naming all sessions."""
        answers = self.status == HTTPStatus.OK
        return self.active_state == "active" and answers and not self.unlisted

    @property
    def unlisted(self) -> tuple[str, ...]:
        """Sessions that are alive but that the page does not name."""
        alive = (name for name, one in self.sessions.items() if not one.dead)
        return tuple(name for name in alive if name not in self.page)

    @property
    def identities(self) -> dict[str, tuple[str, int, int | None, str]]:
        """What must not change while the sessions live on, by their names."""
        return {name: one.identity for name, one in self.sessions.items()}

    @property
    def strays(self) -> tuple[str, ...]:
        """Sessions, and the server, that live outside the unit's own cgroup."""
        group = self.control_group
        homes = {name: one.process for name, one in self.sessions.items()}
        homes |= {"the tmux server": self.server} if self.server else {}
        return tuple(n for n, home in homes.items() if home and home.cgroup != group)


@dataclass(frozen=True, slots=True)
class Echo:
    """The result of typing a new random word into a session.

    The terminal echoes it even for a process that is stopped; only a program that reads
    and writes (`cat`, a shell) answers it.
    """

    nonce: str
    screen: str

    @property
    def echoed(self) -> bool:
        """Whether the terminal showed what was typed."""
        return self.nonce in self.screen

    @property
    def answered(self) -> bool:
        """Whether the program in the session wrote the word again."""
        return self.screen.count(self.nonce) > 1


class Lab:
    """Asks a guest about lab, and starts, feeds and watches sessions there."""

    def __init__(
        self,
        guest: Guest,
        *,
        unit: str = "lab.service",
        user: str = "lab",
        port: int = 8080,
        tmux_directory: str = "/tmp",  # noqa: S108  # tmux's default, in the guest
    ) -> None:
        self._guest = guest
        self.unit = unit
        self.user = user
        self.port = port
        self._tmux = tmux_directory

    def state(self) -> LabState:
        """Ask everything at once; one script."""
        arguments = (self.unit, self.user, str(self.port), self._tmux)
        return parse_state(ask(self._guest, "lab.bash", *arguments))

    def start_session(self, name: str, command: str = "") -> int:
        """Start a session as lab would and return its process's PID.

        `command` is for bash; without one the session is an interactive bash. The
        session's processes live in the unit's cgroup, like those that lab starts.
        """
        _check_name(name)
        arguments = (self.unit, self.user, self._tmux, name, command)
        sections = ask(self._guest, "session-start.sh", *arguments)
        with readable(sections):
            return int(sections.lines("session")[0].split()[1])

    def type(self, session: str, text: str, *, enter: bool = True) -> None:
        """Type into a session's terminal."""
        self._look(session, text, "1" if enter else "0", "", 1)

    def screen(self, session: str) -> str:
        """Return the text on a session's screen."""
        return self._look(session, "", "0", "", 1)

    def echo(self, session: str, *, seconds: float = 5.0) -> Echo:
        """Type a new word and Enter, and wait up to `seconds` for the answer.

        A session that runs `cat` or an interactive shell answers; a heartbeat does not,
        nor is it disturbed.
        """
        nonce = f"nonce{secrets.token_hex(4)}"
        screen = self._look(session, nonce, "1", nonce, int(seconds * 10))
        return Echo(nonce, screen)

    def attach(self, session: str, *, seconds: float = 5.0) -> Echo:
        """Attach a terminal to a session, type a new word there and see what it shows.

        With the tmux of the current system, as a user does who returns after a switch;
        a server of another version may refuse it. Other attached terminals stay.
        """
        nonce = f"nonce{secrets.token_hex(4)}"
        tenths = str(int(seconds * 10))
        arguments = (self.user, self._tmux, session, nonce, tenths)
        lines = ask(self._guest, "session-attach.sh", *arguments).lines("screen")
        return Echo(nonce, "\n".join(line for line in lines if line.strip()))

    def start_heartbeat(self, session: str) -> int:
        """Start a session that writes a beat every 0.1 s; return its PID."""
        log = self._fresh_log(session)
        words = shlex.join(["bash", "-c", load("heartbeat.bash"), "heartbeat", log])
        return self.start_session(session, f"exec {words}")

    def start_payload(self, name: str) -> Job:
        """Start a heartbeat where lab's containers live: a scope of the user's manager.

        Read it like a session's: `heartbeats(name)`. Source: coding-lab, ADR-0060.
        """
        log = self._fresh_log(name)
        beat = ["bash", "-c", load("heartbeat.bash"), "heartbeat", log]
        scope = ["systemd-run", "--user", "--scope", "--quiet", f"--unit={name}", "--"]
        user = ["runuser", "-u", self.user, "--"]
        words = shlex.join([*user, *scope, *beat])
        runtime = f'XDG_RUNTIME_DIR="/run/user/$(id -u {shlex.quote(self.user)})"'
        return jobs.start(self._guest, name, f"{runtime} exec {words}")

    def heartbeats(self, session: str) -> Heartbeat:
        """Read what a session's heartbeat has written so far."""
        _check_name(session)
        log = f"{_LOGS}/{session}.heartbeat"
        return heartbeat.parse(ask(self._guest, "heartbeats.sh", log))

    def _fresh_log(self, name: str) -> str:
        """Make room for a heartbeat's log in a directory that any user may write to."""
        _check_name(name)
        log = f"{_LOGS}/{name}.heartbeat"
        script = 'install -d -m 1777 "$1" && rm -f "$2"'
        self._guest.execute("/bin/sh", "-c", script, "log", _LOGS, log).check()
        return log

    def _look(
        self, session: str, text: str, enter: str, awaited: str, tenths: int
    ) -> str:
        arguments = (self.user, self._tmux, session, text, enter, awaited, str(tenths))
        return ask(self._guest, "session-type.sh", *arguments).text("screen")


@reads
def parse_state(sections: Sections) -> LabState:
    """Read what `lab.bash` printed."""
    properties = sections.pairs("unit")
    files = proc.parse_files(sections.lines("files"))
    exes = proc.parse_exes(sections.lines("exes"))
    *panes, rc = sections.lines("tmux")
    found = [match for match in map(_PANE.match, panes) if match]
    sessions: dict[str, Session] = {}
    for _, pid, dead, created, pty, name in (match.groups() for match in found):
        one = proc.process(int(pid), files, exes)
        session = Session(name, int(pid), pty, dead == "1", int(created or 0), one)
        sessions.setdefault(name, session)
    group = f"/sys/fs/cgroup{properties.get('ControlGroup', '')}"
    status, page = parse_http(sections.text("http"))
    return LabState(
        uptime=float(sections.value("uptime")),
        properties=properties,
        main=proc.process(int(properties.get("MainPID", "0")), files, exes),
        server=proc.process(int(found[0][1]), files, exes) if found else None,
        manager=proc.process(int(sections.value("manager") or 0), files, exes),
        sessions=sessions,
        tmux_error="" if rc == "0" else "\n".join(panes),
        sockets=tuple(sections.lines("sockets")),
        cgroup_pids=tuple(map(int, files.get(f"{group}/cgroup.procs", "").split())),
        subtree_control=files.get(f"{group}/cgroup.subtree_control", "").strip(),
        status=status,
        page=page,
    )


def parse_http(text: str) -> tuple[int | None, str]:
    """Split an HTTP answer into its status, None when there was none, and its body."""
    found = _STATUS.match(text)
    if found is None:
        return None, ""
    head, _, body = text.replace("\r\n", "\n").partition("\n\n")
    return int(found[1]), body if head else ""


def _check_name(name: str) -> None:
    """Refuse names that tmux would change or that are no file names."""
    if not _NAME.fullmatch(name):
        raise MachineError(f"{name!r} is no name for a session", hint="a-z 0-9 - _")
