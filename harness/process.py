"""Child processes: the only room that imports `subprocess`.

`spawn` owns a child for the length of a `with`; `run` waits for one to end. Commands
are argv lists, never shell strings. A child never outlives this process: where that is
killed, the kernel ends the child (prctl(2), PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import signal
import subprocess
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from harness.errors import HostError, ProcessFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from harness.deadline import Deadline

Popen = subprocess.Popen
PIPE = subprocess.PIPE
DEVNULL = subprocess.DEVNULL
STDOUT = subprocess.STDOUT

log = logging.getLogger(__name__)

# Debian gives an ordinary user a PATH without `ip`, `nft` and `sfdisk`.
_ADMIN = ("/usr/sbin", "/sbin")
_LEASH = "setpriv"


@dataclass(frozen=True, slots=True)
class Completed:
    """How a process ended."""

    argv: tuple[str, ...]
    rc: int
    stdout: str
    stderr: str

    def check(self) -> Completed:
        """Raise ProcessFailed unless the exit status is 0."""
        if self.rc != 0:
            raise ProcessFailed(
                f"exit status {self.rc}: {shlex.join(self.argv)}",
                evidence=(self.stdout + self.stderr).splitlines()[-20:],
            )
        return self


@contextmanager
def spawn(
    argv: Sequence[str],
    *,
    stdin: int | IO[bytes] = DEVNULL,
    stdout: int | IO[bytes] = DEVNULL,
    stderr: int | IO[bytes] = DEVNULL,
    pass_fds: Sequence[int] = (),
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    grace: float = 5.0,
) -> Iterator[Popen[bytes]]:
    """Run a child for the length of the `with`, then stop it and always wait.

    `grace` is how many seconds it has between SIGTERM and SIGKILL. When the thread that
    calls this ends first, for any reason, it is killed. Raises HostError when the
    program does not exist.
    """
    log.debug("spawn %s", shlex.join(argv))
    environment = dict(os.environ if env is None else env)
    environment["PATH"] = search_path(environment)
    for program in (_LEASH, argv[0]):
        if shutil.which(program, path=environment["PATH"]) is None:
            raise _missing(program)
    process = subprocess.Popen(
        [*leashed("KILL"), *argv],
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=tuple(pass_fds),
        env=environment,
        cwd=cwd,
    )
    try:
        yield process
    finally:
        stop(process, grace=grace)


def leashed(sign: str) -> list[str]:
    """Return the prefix by which a child gets a signal when its parent has ended."""
    return [_LEASH, f"--pdeathsig={sign}", "--"]


def stop(process: Popen[bytes], *, grace: float) -> None:
    """End a child: SIGTERM, `grace` seconds, SIGKILL, wait; close its pipes."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            log.warning("pid %d ignored SIGTERM for %s s", process.pid, grace)
            process.kill()
            process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()


def run(
    argv: Sequence[str],
    *,
    deadline: Deadline,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    pass_fds: Sequence[int] = (),
) -> Completed:
    """Run a process to its end and capture its output, decoded with replacement.

    Raises DeadlineExpired after killing it, HostError when it does not exist; the exit
    status is the caller's to `check()`.
    """
    log.debug("run %s", shlex.join(argv))
    with spawn(
        argv,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env=env,
        cwd=cwd,
        pass_fds=pass_fds,
        grace=1.0,
    ) as process:
        try:
            out, err = process.communicate(stdin, timeout=deadline.remaining)
        except subprocess.TimeoutExpired as error:
            raise deadline.error(f"still running: {shlex.join(argv)}") from error
    return Completed(
        tuple(argv),
        process.returncode,
        out.decode(errors="replace"),
        err.decode(errors="replace"),
    )


def alive(pid: int) -> bool:
    """Whether a process with this PID exists and is not a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with suppress(OSError), open(f"/proc/{pid}/stat", encoding="ascii") as stat:  # noqa: PTH123
        return stat.read().rpartition(")")[2].split()[0] != "Z"
    return False


def kill(pid: int) -> None:
    """Send SIGKILL to a process that may be gone already."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def search_path(environ: Mapping[str, str] | None = None) -> str:
    """Return PATH with the directories of administrators' programs at its end."""
    known = os.environ if environ is None else environ
    given = known.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join([*given, *(path for path in _ADMIN if path not in given)])


def _missing(program: str) -> HostError:
    return HostError(
        f"{program} is not installed",
        hint="run `harness doctor` for what is missing, or `make accept` to install it",
    )
