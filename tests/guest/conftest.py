"""A stand-in for a guest: this computer, reached through a real agent's protocol."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from harness.deadline import Deadline
from harness.guest.agent import AgentTransport
from tests.guest.agent_peer import AgentPeer, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.guest.transport import CommandResult


@dataclass
class LocalGuest:
    """A guest whose root is this computer's, but for `bin`, `passwd` and the caches.

    Scripts find the programs of `bin` first, and drop no caches. Users have the homes
    of `passwd`: a shell must not run the dotfiles of the user who runs the tests.
    """

    agent: AgentTransport
    bin: Path
    passwd: Path

    def execute(
        self, *words: str, timeout: float = 20.0, stdin: bytes = b""
    ) -> CommandResult:
        """Run a command here."""
        argv = [self._here(word) for word in words]
        deadline = Deadline.after(timeout, words[0])
        return self.agent.execute(argv, deadline=deadline, stdin=stdin)

    def program(self, name: str, script: str) -> None:
        """Put a program in front of this computer's own."""
        self.bin.mkdir(exist_ok=True)
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)

    def _here(self, word: str) -> str:
        word = word.replace("PATH=/run/current", f"PATH={self.bin}:/run/current")
        word = word.replace("</etc/passwd", f"<{self.passwd}")
        return word.replace("/proc/sys/vm/drop_caches", "/dev/null")


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[AgentPeer]:
    """Serve a peer for the length of a test."""
    with serve(tmp_path) as peer:
        yield peer


@pytest.fixture
def agent(peer: AgentPeer) -> Iterator[AgentTransport]:
    """Connect to the peer."""
    transport = AgentTransport(peer.path)
    yield transport
    transport.close()


@pytest.fixture
def guest(agent: AgentTransport, tmp_path: Path) -> LocalGuest:
    """Return this computer as a guest, in which the tests' user has an empty home."""
    user = pwd.getpwuid(os.getuid())
    home, passwd = tmp_path / "home", tmp_path / "passwd"
    home.mkdir()
    passwd.write_text(f"{user.pw_name}:x:{user.pw_uid}:{user.pw_gid}::{home}:/bin/sh\n")
    return LocalGuest(agent, tmp_path / "bin", passwd)
