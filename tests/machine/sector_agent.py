"""A guest agent for the boot-sector guest: the protocol is real, the guest pretends."""

from __future__ import annotations

import base64
import io
import socket
import threading
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.qemu import Console
from tests.guest.agent_peer import AgentPeer

if TYPE_CHECKING:
    from collections.abc import Iterator

BOOT_ID = "/proc/sys/kernel/random/boot_id"


@dataclass
class SectorAgent(AgentPeer):
    """Answers for a guest that has no programs; tests say what those would print.

    `units` are the answers to `systemctl show`; a reboot types the guest's reset key
    and takes a new boot id, unless `reboots` is off.
    """

    console: Path = Path()
    boot_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    reboots: bool = True
    units: dict[str, dict[str, str]] = field(default_factory=dict)
    ran: list[list[str]] = field(default_factory=list)
    answers: dict[int, tuple[int, str]] = field(default_factory=dict)

    def guest_exec(self, arguments: dict[str, Any]) -> dict[str, int]:
        """Pretend to run a program."""
        argv = [arguments["path"].rpartition("/")[2], *arguments["arg"]]
        self.ran.append(argv)
        pid = len(self.ran)
        answer = self.run(argv)
        if answer is not None:
            self.answers[pid] = answer
        return {"pid": pid}

    def guest_exec_status(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Say what the program printed."""
        if arguments["pid"] not in self.answers:
            return {"exited": False}
        rc, out = self.answers.pop(arguments["pid"])
        text = base64.b64encode(out.encode()).decode()
        return {"exited": True, "exitcode": rc, "out-data": text}

    def guest_file_open(self, arguments: dict[str, Any]) -> int:
        """Open one of the files there are: the boot id."""
        if arguments["path"] != BOOT_ID:
            return super().guest_file_open(arguments)
        handle = 2000 + len(self.seen)
        self.files[handle] = io.BytesIO(self.boot_id.encode() + b"\n")
        return handle

    def run(self, argv: list[str]) -> tuple[int, str] | None:
        """Return exit status and output; None for a program that never ends."""
        match argv:
            case ["sleep", *_]:
                return None
            case ["false", *_]:
                return 1, "no\n"
            case ["systemctl", "--no-block", "reboot"]:
                return self._reboot()
            case ["systemctl", "show", unit, *_]:
                facts = self.units[unit]
                return 0, "".join(f"{key}={value}\n" for key, value in facts.items())
            case ["journalctl", *_]:
                return 0, '{"MESSAGE": "hello"}\n'
            case _:
                return 0, " ".join(argv) + "\n"

    def _reboot(self) -> tuple[int, str]:
        if self.reboots:
            self.boot_id = str(uuid.uuid4())
        self.type("R")
        return 0, ""

    def type(self, keys: str) -> None:
        """Do something in the guest, by the only hand it has."""
        Console(self.path, self.console).send(keys)


@contextmanager
def serve(directory: Path) -> Iterator[SectorAgent]:
    """Answer on `directory/agent.sock` for a QEMU whose sockets are in `emulator`."""
    path = directory / "agent.sock"
    peer = SectorAgent(path, console=directory / "emulator" / "console.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        clients: list[socket.socket] = []
        thread = threading.Thread(target=_accept, args=(listener, peer, clients))
        thread.start()
        try:
            yield peer
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            for client in clients:
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
            thread.join()


def _accept(
    listener: socket.socket, peer: SectorAgent, clients: list[socket.socket]
) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            clients.append(client)
            with client, suppress(OSError), client.makefile("rb") as lines:
                for line in lines:
                    client.sendall(peer.answer(line))
