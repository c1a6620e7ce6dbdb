"""A systemd that is PID 1 of namespaces of its own, inside a site or without one.

    this process ── enter ──▶ unshare --mount : its cgroup2, a control group of its own
                                └─ unshare : PID, mount, cgroup, UTS, IPC
                                     └─ systemd --system, PID 1 there

It sees this computer's files read-only. /var/lib is the machine's `state` directory,
/etc/systemd has the units alone, /run is new; /tmp can be written. The network is the
one it was started in. `systemctl` reaches it through systemd's private socket, for
which there is no D-Bus needed. When the process that started it ends, so does the PID
namespace, and with it every process of every unit.

Its control groups lie below the one that this process is in. That one hands out no
controllers, so `CPUWeight=` is read and has no effect on the speed of a machine.
"""

from __future__ import annotations

import os
import select
import shlex
import shutil
import signal
import tty
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from harness.deadline import Deadline, poll
from harness.errors import DeadlineExpired, HostError
from harness.host import Finding, remedy
from harness.process import leashed, run, spawn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.process import Completed, Popen
    from harness.qemu import Enter

INSIDE = Path("/run/vm-acceptance")
"""Where the machine's `inside` directory is, for units."""
REAL = Path("/run/vm-acceptance.root")
"""Where this computer's files are as they were before a program was covered."""
TARGET = "vm-acceptance.target"

# Debian, and NixOS.
_PLACES = "/usr/lib/systemd:/lib/systemd:/run/current-system/systemd/lib/systemd"
_KINDS = {"mnt": "mount", "pid": "pid", "net": "net", "uts": "uts", "ipc": "ipc"}
_ANSWER_S = 30.0
_COMMAND_S = 60.0
_SETTLE_S = 2.0
_EXITED = "1"  # CLD_EXITED
_LOG = "systemd.log"
_NUMBERS = count()

# `sh -c OUTER sh DIRECTORY GROUP COMMAND…`, in a mount namespace of its own.
_OUTER = """\
set -eu
directory=$1 name=$2; shift 2
mkdir -p "$directory/cgroup"
mount -t cgroup2 cgroup2 "$directory/cgroup"
own=$directory/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
remove() { find "$1" -depth -type d -exec rmdir {} + 2>/dev/null || true; }
if [ "$1" = remove ]; then remove "$own/$name"; exit; fi
for old in $(find "$own" -maxdepth 1 -name 'vm-acceptance-units-*' -mmin +60); do
  ! grep -q 'populated 0' "$old/cgroup.events" || remove "$old"
done
mkdir "$own/$name"
echo $$ >"$own/$name/cgroup.procs"
exec "$@"
"""

# Runs as the first process of the new namespaces, and becomes systemd. /proc/sys is
# the whole computer's but for the network's part, and systemd would raise limits there.
_INNER = """\
set -eu
umount {directory}/cgroup
mount --rbind /tmp /tmp
mount --bind {directory} {directory}
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs {directory}/run
mkdir {directory}/run/vm-acceptance {directory}/run/vm-acceptance.root
mount --rbind / {directory}/run/vm-acceptance.root
mount -o remount,bind,ro {directory}/run/vm-acceptance.root
mount --bind {directory}/inside {directory}/run/vm-acceptance
mount --bind {directory}/state /var/lib
mount --bind {directory}/etc /etc/systemd
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --bind /proc/sys/net /proc/sys/net
mount --rbind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
[ ! -e /dev/console ] || mount --bind {console} /dev/console
mount -n --move {directory}/run /run
{covers}
mount -o remount,bind,ro /
exec env -i {environment} {systemd} --system --unit={target} --show-status=no \
  --log-target=console --log-level=info
"""


@dataclass(frozen=True, slots=True)
class UnitManager:
    """A running service manager; `pid` is systemd's, as this computer counts."""

    directory: Path
    pid: int
    doors: dict[str, int]

    def enter(self, argv: Sequence[str]) -> list[str]:
        """Prefix a command so that it runs where the units do."""
        ours = f"/proc/{os.getpid()}/fd"
        joins = [f"--{kind}={ours}/{number}" for kind, number in self.doors.items()]
        return ["nsenter", *joins, "--", *leashed("KILL"), *argv]

    def systemctl(self, *words: str, deadline: Deadline | None = None) -> Completed:
        """Run systemctl to its end; its exit status is the caller's to judge."""
        awaited = deadline or Deadline.after(_COMMAND_S, shlex.join(words))
        argv = self.enter(["systemctl", "--no-pager", "--no-ask-password", *words])
        return run(argv, deadline=awaited)

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Return properties of a unit, as `systemctl show` writes them."""
        return self.show_all([unit], *properties)[unit]

    def show_all(
        self, units: Sequence[str], *properties: str
    ) -> dict[str, dict[str, str]]:
        """Return properties of several units, all loaded at the same time."""
        words = ("show", "-p", ",".join(properties), "--", *units)
        blocks = self.systemctl(*words).check().stdout.split("\n\n")
        shown = [
            dict(line.split("=", 1) for line in block.splitlines()) for block in blocks
        ]
        return dict(zip(units, shown, strict=True))

    def state(self, unit: str) -> str:
        """Return the ActiveState of a unit."""
        return self.show(unit, "ActiveState")["ActiveState"]

    def main_status(self, unit: str) -> int:
        """Return how the main process of a service ended; a signal is negative.

        0 where systemd has started it again since, and so has forgotten its end.
        """

        def ended() -> int | None:
            shown = self.show(unit, "ExecMainCode", "ExecMainStatus")
            status = int(shown["ExecMainStatus"])
            if shown["ExecMainCode"] == "0":
                return None
            return status if shown["ExecMainCode"] == _EXITED else -status

        with suppress(DeadlineExpired):
            deadline = Deadline.after(_SETTLE_S, "systemd to note a process's end")
            return poll(ended, deadline, interval=0.02)
        return 0

    @property
    def said(self) -> list[str]:
        """The last lines that systemd logged."""
        return last_lines(self.directory / _LOG)


class UnitProcess:
    """A process of a unit: its end by its pidfd, its exit status by systemd."""

    def __init__(self, pid: int, manager: UnitManager, unit: str) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._manager = manager
        self._unit = unit
        self._handle = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs; a signal is negative."""
        if self.returncode is None:
            waiting = select.poll()
            waiting.register(self._handle, select.POLLIN)
            if waiting.poll(0):
                self.returncode = self._manager.main_status(self._unit)
                os.close(self._handle)
        return self.returncode


def last_lines(file: Path, count: int = 20) -> list[str]:
    """Return the end of a log that may not exist."""
    try:
        lines = file.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [line for line in lines if line.strip()][-count:]


@contextmanager
def open_manager(
    directory: Path,
    enter: Enter,
    *,
    covers: dict[str, Path],
    private_network: bool = False,
) -> Iterator[UnitManager]:
    """Run a systemd for the length of the `with`; the units are in `etc/system`.

    `covers` are files that units find in the place of others, by the others' paths.
    Raises HostError where this computer has no systemd or permits no such namespaces.
    """
    systemd = _systemd()
    for name in ("inside", "state", "etc/system", "run"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    group = f"vm-acceptance-units-{os.getpid()}-{next(_NUMBERS)}"
    outer = ["unshare", "--mount", "--", "sh", "-c", _OUTER, "sh"]
    argv = [*outer, str(directory), group, *_unshare(private_network=private_network)]
    with ExitStack() as stack:
        console = stack.enter_context(_console(directory / _LOG))
        script = directory / "manager.sh"
        script.write_text(_inner(directory, systemd, console, covers))
        log = stack.enter_context((directory / "manager.log").open("wb"))
        stack.callback(_remove_group, enter([*outer, str(directory), group, "remove"]))
        first = enter([*argv, "sh", str(script)])
        holder = stack.enter_context(
            spawn(["setsid", *first], stdout=log, stderr=log, grace=1.0)
        )
        pid = _await_first(holder, directory)
        stack.callback(_end, pid, holder)
        doors = {
            option: stack.enter_context(_door(pid, kind))
            for kind, option in _KINDS.items()
        }
        manager = UnitManager(directory, pid, doors)
        _await_answer(manager, holder)
        yield manager


def finding() -> Finding:
    """Say for `harness doctor` whether units can be adopted here."""
    try:
        return Finding("adopted units", True, _systemd(), needed=False)
    except HostError as error:
        return Finding("adopted units", False, error.summary, error.hint, needed=False)


def _systemd() -> str:
    found = shutil.which("systemd", path=_PLACES)
    if found is None or shutil.which("systemctl") is None:
        raise HostError(
            "there is no systemd to run units with",
            hint=remedy("systemd", "systemd"),
        )
    if os.geteuid() != 0:
        raise HostError(
            "units need root: systemd makes control groups for them",
            hint="run it as root, in a container if you like",
        )
    return found


def _unshare(*, private_network: bool) -> list[str]:
    return [
        *("unshare", "--fork", "--pid", "--kill-child=SIGKILL", "--mount"),
        *("--mount-proc", "--cgroup", "--uts", "--ipc"),
        *(["--net"] if private_network else []),
        "--",
    ]


def _inner(directory: Path, systemd: str, console: str, covers: dict[str, Path]) -> str:
    environment = {
        "container": "vm-acceptance",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "SYSTEMD_COLORS": "0",
        "TERM": "dumb",
        "SYSTEMD_UNIT_PATH": "/etc/systemd/system",
        "SYSTEMD_GENERATOR_PATH": "/run/no-generators",
        "SYSTEMD_ENVIRONMENT_GENERATOR_PATH": "/run/no-generators",
    }
    return _INNER.format(
        directory=shlex.quote(str(directory)),
        console=console,
        covers="\n".join(
            shlex.join(["mount", "--bind", str(program), path])
            for path, program in covers.items()
        ),
        environment=shlex.join(f"{k}={v}" for k, v in environment.items()),
        systemd=systemd,
        target=TARGET,
    )


@contextmanager
def _console(log: Path) -> Iterator[str]:
    """Hold a terminal for systemd's log, and a process that writes it to a file.

    systemd as PID 1 logs to a console only if that is a terminal.
    """
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    with ExitStack() as stack:
        stack.callback(os.close, theirs)
        file = stack.enter_context(log.open("ab"))
        reader = spawn(["cat"], stdin=ours, stdout=file, grace=1.0)
        stack.enter_context(reader)
        os.close(ours)
        yield os.ttyname(theirs)


def _await_first(holder: Popen[bytes], directory: Path) -> int:
    """Find systemd below the processes that lead into its namespaces."""
    deadline = Deadline.after(_ANSWER_S, "the first process of the units' namespaces")

    def look() -> int | None:
        _check(holder, directory)
        return _first_below(holder.pid)

    return poll(look, deadline, interval=0.005)


def _first_below(pid: int) -> int | None:
    with suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for child in map(int, children):
            status = Path(f"/proc/{child}/status").read_text()
            names = next(x for x in status.splitlines() if x.startswith("NSpid:"))
            if names.split()[-1] == "1":
                return child
            return _first_below(child)
    return None


def _check(holder: Popen[bytes], directory: Path) -> None:
    """Raise HostError with what was said where there is no PID 1 any more."""
    if holder.poll() is not None:
        said = last_lines(directory / "manager.log") + last_lines(directory / _LOG)
        raise HostError(
            "this computer does not let a systemd run in namespaces of its own: "
            f"exit status {holder.returncode}; {'; '.join(said)}",
            hint="a container needs CAP_SYS_ADMIN, a writable cgroup2 and "
            "an unmasked /proc",
        )


def _await_answer(manager: UnitManager, holder: Popen[bytes]) -> None:
    deadline = Deadline.after(_ANSWER_S, "systemd to answer")

    def answered() -> bool | None:
        _check(holder, manager.directory)
        state = manager.systemctl("is-system-running", deadline=deadline)
        return state.stdout.strip() in {"running", "degraded"} or None

    try:
        poll(answered, deadline, interval=0.02)
    except DeadlineExpired as error:
        error.evidence = (*error.evidence, *manager.said)
        raise


@contextmanager
def _door(pid: int, kind: str) -> Iterator[int]:
    number = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield number
    finally:
        os.close(number)


def _end(pid: int, holder: Popen[bytes]) -> None:
    """Kill PID 1; the kernel ends the rest of the namespace before it is gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with suppress(DeadlineExpired):
        poll(holder.poll, Deadline.after(5, "systemd's end"), interval=0.005)


def _remove_group(argv: list[str]) -> None:
    # A group that something is still in stays, empty of everything else.
    with suppress(DeadlineExpired):
        run(argv, deadline=Deadline.after(10, "the units' control group to go"))
