"""One set of namespaces, which the kernel removes when this process ends.

    this process ── socket ──▶ unshare ▶ init (PID 1 inside) : mount, PID, net [, user]
                └─ nsenter ──▶ QEMU, dnsmasq, watchers, service hosts

The socket is the lifeline: the process with the other end owns the sandbox. When that
process ends, SIGKILL included, init sees the end of the stream and ends too; the kernel
then kills every process of the PID namespace, and removes the mounts, the network
namespaces and every link and address in them with the last of these processes.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import struct
import sys
import threading
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from harness.deadline import Deadline, poll
from harness.errors import HarnessError, HostError, ProcessFailed, SiteDied
from harness.process import DEVNULL, Completed, Popen, alive, leashed, run, spawn
from harness.site import layout as plans

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

log = logging.getLogger(__name__)

INSIDE = Path(__file__).parent / "inside"
_LOG = "sandbox.log"
_SCRIPT = "sandbox.sh"
_ANSWER_MAX = 4096
_CLOSE_GRACE = 5.0
_SCRIPT_BUDGET = 20.0
_GRACE = 2.0
_DEATH_S = 0.5
_UCRED = struct.Struct("3i")


@dataclass(frozen=True)
class Resident:
    """A process that this process started in the sandbox.

    `pid` is the process itself as this computer counts; `outer` is the nsenter before
    it, which ends with the same status.
    """

    pid: int
    outer: Popen[bytes]

    @property
    def running(self) -> bool:
        """Whether it has not ended yet; nsenter notices a little later."""
        return self.outer.poll() is None and alive(self.pid)

    def status(self) -> int:
        """Return what it ended with, as Popen has it. Raises DeadlineExpired."""
        return poll(self.outer.poll, Deadline.after(_GRACE, "nsenter to end"))

    def signal(self, sign: signal.Signals) -> None:
        """Send the process itself a signal; one that is gone already is fine."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, sign)


@dataclass(frozen=True)
class Sandbox:
    """The namespaces, by descriptors of this process.

    The kernel may reuse a PID before it is used, and then a command for the sandbox
    would run on this computer; a descriptor refers to the right namespace or to none.
    `doors` are those of the namespaces by kind, `root` that of the directory tree.
    """

    directory: Path
    pid: int
    control: socket.socket
    doors: dict[str, int]
    root: int
    holder: Popen[bytes]
    needed: dict[int, tuple[str, Resident]] = field(default_factory=dict)
    _said: list[SiteDied] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def enter(self, argv: Sequence[str], *, host: str | None = None) -> list[str]:
        """Prefix a command so that it runs inside, on the gateway or a named host.

        It starts in `/` and dies by SIGKILL when the nsenter in front of it dies;
        paths in it must be absolute. Good for as long as this process lives. Raises
        nothing: a host that does not exist is nsenter's to complain about.
        """
        ours = f"/proc/{os.getpid()}/fd"
        joins = [f"--{kind}={ours}/{number}" for kind, number in self.doors.items()]
        if host is not None:
            joins.append(f"--net={ours}/{self.root}{plans.NETNS_DIRECTORY}/{host}")
        return [
            "nsenter",
            *joins,
            *(["--preserve-credentials"] if self.rootless else []),
            "--",
            *leashed("KILL"),
            *argv,
        ]

    @property
    def rootless(self) -> bool:
        """Whether it is a user namespace, too."""
        return "user" in self.doors

    def death(self) -> SiteDied | None:
        """Say what ended that was needed: the sandbox itself, or a process in it."""
        self._ends()
        found = self._death()
        if found is not None:
            self._said.append(found)
        return found

    def _ends(self) -> bool:
        """Whether the sandbox ends within moments; its first process goes last."""
        awaited = Deadline.after(_DEATH_S, "the end of the sandbox")
        with suppress(HarnessError):
            poll(self.holder.poll, awaited, interval=0.02)
        return self.holder.poll() is not None

    def _death(self) -> SiteDied | None:
        lost = [each for each in self.needed.values() if not each[1].running]
        if self.holder.poll() is not None or (lost and self._ends()):
            return SiteDied(
                "the site died: the first process of its namespaces was killed",
                seen="QEMU, dnsmasq and all else in them ended with it",
            )
        for name, resident in lost:
            ended = how(resident.status())
            return SiteDied(f"{name} was ended {ended} while it was needed")
        return None

    def release(self, resident: Resident) -> None:
        """Need a process no longer: from now on it may end."""
        self.needed.pop(resident.pid, None)

    def run(
        self,
        argv: Sequence[str],
        *,
        host: str | None = None,
        deadline: Deadline,
        stdin: bytes = b"",
    ) -> Completed:
        """Run a command inside to its end."""
        return run(self.enter(argv, host=host), deadline=deadline, stdin=stdin)

    def script(self, text: str, awaited: str) -> None:
        """Run a shell script inside, on the gateway. Raises ProcessFailed."""
        deadline = Deadline.after(_SCRIPT_BUDGET, awaited)
        self.run(["sh", "-euc", text], deadline=deadline).check()

    def tidy(self, text: str, awaited: str) -> None:
        """Run a shell script that takes something away, best it can.

        Part of a cleanup, so it never raises: what it could not do is logged, and the
        end of the sandbox does it.
        """
        try:
            self.script(text, awaited)
        except HarnessError as error:
            log.warning("%s: %s", awaited, error)

    def open_socket(
        self, kind: int, *, host: str | None = None, family: int, protocol: int = 0
    ) -> socket.socket:
        """Make a socket that lives on a host of the LAN, usable from this process.

        `kind`, `family` and `protocol` are those of `socket.socket`. Raises
        HarnessError when the sandbox cannot make one.
        """
        request = json.dumps(
            {"host": host, "family": family, "type": kind, "protocol": protocol}
        )
        answer: bytes = b""
        handles: list[int] = []
        with self._lock, suppress(OSError):
            self.control.send(request.encode())
            answer, handles, _, _ = socket.recv_fds(self.control, _ANSWER_MAX, 1)
        if not handles:
            if not answer and (died := self.death()):
                raise died
            seen = json.loads(answer)["error"] if answer else "the sandbox has ended"
            raise HarnessError(f"no socket on {host or 'the gateway'}", seen=seen)
        return socket.socket(fileno=handles[0])

    @contextmanager
    def spawn(
        self,
        argv: Sequence[str],
        *,
        host: str | None = None,
        stdin: int | IO[bytes] = DEVNULL,
        stdout: int | IO[bytes] = DEVNULL,
        stderr: int | IO[bytes] = DEVNULL,
        pass_fds: Sequence[int] = (),
        needed: str = "",
    ) -> Iterator[Resident]:
        """Keep a process inside for the length of the `with`.

        It is in a session of its own, so that Ctrl-C leaves its end to us. SIGTERM
        goes to the process itself, 2 s later SIGKILL. Where it is `needed`, by this
        name, and ends before that, SiteDied is raised.
        """
        with spawn(
            ["setsid", *self.enter(argv, host=host)],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=pass_fds,
            grace=_GRACE,
        ) as outer:
            resident = Resident(_inner_pid(outer), outer)
            if needed:
                self.needed[resident.pid] = (needed, resident)
            try:
                yield resident
                if resident.pid in self.needed:
                    self._demand()
            finally:
                self.release(resident)
                end(resident, grace=_GRACE)

    def _demand(self) -> None:
        """Raise what ended, unless that was said before."""
        if not self._said and (found := self._death()):
            self._said.append(found)
            raise found

    def processes(self) -> list[int]:
        """List the PIDs, as this computer counts, of what lives in the sandbox."""
        ours = Path(f"/proc/self/fd/{self.doors['pid']}").readlink().name
        pids = (int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit())
        inside = (pid for pid in pids if _namespace(pid, "pid") == ours)
        return sorted(pid for pid in inside if alive(pid))


def how(status: int) -> str:
    """Say how a process ended, by its return code as Popen has it."""
    if status >= 0:
        return f"with exit status {status}"
    return f"by {signal.Signals(-status).name}"


def end(
    resident: Resident,
    *,
    grace: float,
    signs: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGKILL),
) -> None:
    """End a resident: SIGTERM to the process itself, `grace` seconds, then SIGKILL."""
    for sign in signs:
        if not resident.running:
            return
        resident.signal(sign)
        with suppress(HarnessError):
            poll(
                resident.outer.poll,
                Deadline.after(grace, f"pid {resident.pid} to end"),
                interval=0.005,
            )


@contextmanager
def open_capsule(
    layout: plans.Layout, directory: Path, *, deadline: Deadline
) -> Iterator[Sandbox]:
    """Hold a sandbox with its LAN for the length of the `with`.

    `directory` takes the script and the log of its making. Raises HostError when this
    computer does not allow the namespaces, ProcessFailed when the LAN cannot be made.
    """
    script = directory / _SCRIPT
    script.write_text(plans.capsule_script(layout, directory), encoding="utf-8")
    init = [sys.executable, "-I", "-S", str(INSIDE / "init.py"), str(script)]
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    rootless = os.geteuid() != 0
    with ExitStack() as stack:
        said = stack.enter_context((directory / _LOG).open("wb"))
        with theirs:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            holder = stack.enter_context(
                spawn(
                    [*unshare(rootless=rootless), *init],
                    stdin=theirs.fileno(),
                    stdout=said,
                    stderr=said,
                )
            )
        stack.callback(_close, ours, holder)
        pid = _await_init(ours, directory / _LOG, deadline)
        kinds = ["mnt", "net", "pid", *(["user"] if rootless else [])]
        doors = {
            {"mnt": "mount"}.get(kind, kind): _open(stack, f"/proc/{pid}/ns/{kind}")
            for kind in kinds
        }
        root = _open(stack, f"/proc/{pid}/root", os.O_PATH)
        sandbox = Sandbox(directory, pid, ours, doors, root, holder)
        yield sandbox
        sandbox._demand()  # noqa: SLF001 - same module


def unshare(*, rootless: bool) -> list[str]:
    """Build the command that makes the namespaces and holds them while it runs."""
    return [
        "setsid",
        "unshare",
        *(["--user", "--map-root-user"] if rootless else []),
        "--fork",
        "--pid",
        "--kill-child=SIGKILL",
        "--mount",
        "--mount-proc",
        "--net",
        "--",
    ]


def _open(stack: ExitStack, path: str, flags: int = os.O_RDONLY) -> int:
    number = os.open(path, flags | os.O_CLOEXEC)
    stack.callback(os.close, number)
    return number


def _await_init(ours: socket.socket, log: Path, deadline: Deadline) -> int:
    # The kernel translates the sender's PID 1 into what it is called out here.
    ours.settimeout(max(0.001, deadline.remaining))
    try:
        said, ancillary, _, _ = ours.recvmsg(16, socket.CMSG_SPACE(_UCRED.size))
    except TimeoutError as error:
        raise deadline.error("the sandbox's first process is not up") from error
    for level, kind, data in ancillary:
        if said and (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
            return int(_UCRED.unpack(data)[0])
    raise _refusal(log.read_text(errors="replace").splitlines()[-20:])


def _refusal(lines: Sequence[str]) -> HarnessError:
    if any(line.startswith("unshare:") for line in lines):
        return HostError(
            "this computer does not allow the namespaces that a site is made of: "
            + "; ".join(lines),
            hint="run as root, or allow them: sysctl user.max_user_namespaces=15000, "
            "on Debian kernel.unprivileged_userns_clone=1, on Ubuntu "
            "kernel.apparmor_restrict_unprivileged_userns=0; a container needs "
            "CAP_SYS_ADMIN and an unmasked /proc",
        )
    return ProcessFailed("the LAN could not be made", evidence=lines)


def _close(ours: socket.socket, holder: Popen[bytes]) -> None:
    ours.close()
    with suppress(HarnessError):
        poll(
            holder.poll,
            Deadline.after(_CLOSE_GRACE, "the sandbox to end"),
            interval=0.002,
        )


def _inner_pid(outer: Popen[bytes]) -> int:
    """Find the process behind an nsenter, which forks to join a PID namespace."""
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")

    def first_child() -> int | None:
        if outer.poll() is not None:
            raise ProcessFailed(
                f"exit status {outer.returncode} before it was in the sandbox",
                seen=repr(outer.args),
            )
        listed = children.read_text().split()
        return int(listed[0]) if listed else None

    awaited = Deadline.after(_SCRIPT_BUDGET, "nsenter to join the sandbox")
    return poll(first_child, awaited, interval=0.001)


def _namespace(pid: int, kind: str) -> str:
    with suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/{kind}")  # noqa: PTH115
    return ""
