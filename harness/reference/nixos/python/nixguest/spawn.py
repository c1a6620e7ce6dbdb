"""Child processes without the weight of `subprocess`."""

from __future__ import annotations

import os
import sys


def run(argv: list[str]) -> int:
    """Run a program to its end; its exit status, 127 where it cannot be started."""
    try:
        pid = os.posix_spawnp(argv[0], argv, os.environ)
    except FileNotFoundError:
        return 127
    except PermissionError:
        return 126
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def say(text: str) -> None:
    """Print one line for the terminal, on stderr as NixOS does.

    The other end may be closed: a switch can stop the very service (sshd, the guest
    agent) that its caller is connected through. That must not stop it half-way.
    """
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except OSError:
        pass
