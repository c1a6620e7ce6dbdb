"""A peer that speaks the guest agent's protocol and runs commands on this computer.

It answers as qemu-ga 9.2 does, down to the wording of its refusals, so that transport
and scripts can be tried for real without a VM.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness import process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass
class ChildProcess:
    """A process that was started for a client, and what it has said."""

    popen: process.Popen[bytes]
    thread: threading.Thread
    out: bytes = b""
    err: bytes = b""


@dataclass
class AgentPeer:
    """The state of one agent; tests turn its knobs while it serves."""

    path: Path
    deaf: bool = False
    noise: bytes = b""
    seen: list[str] = field(default_factory=list)
    children: dict[int, ChildProcess] = field(default_factory=dict)
    files: dict[int, Any] = field(default_factory=dict)

    def restart(self) -> None:
        """Forget everything, as a restarted agent does."""
        self.children.clear()
        self.files.clear()

    def answer(self, line: bytes) -> bytes:
        """Answer one request line."""
        if self.deaf:
            return b""
        sentinel = b""
        if b"\xff" in line:
            line = line.rpartition(b"\xff")[2]
        try:
            message = json.loads(line)
        except ValueError:
            return _refusal("Invalid JSON syntax")
        name = message["execute"]
        self.seen.append(name)
        handler = getattr(self, name.replace("-", "_"), None)
        if handler is None:
            return _refusal(f"The command {name} has not been found")
        if name == "guest-sync-delimited":
            sentinel = b"\xff"
        try:
            value = handler(message.get("arguments", {}))
        except (OSError, KeyError, ValueError) as error:
            return _refusal(str(error))
        if name == "guest-shutdown":
            return b""
        noise, self.noise = self.noise, b""
        return noise + sentinel + json.dumps({"return": value}).encode() + b"\n"

    def guest_sync_delimited(self, arguments: dict[str, Any]) -> int:
        """Echo the client's number."""
        return int(arguments["id"])

    def guest_ping(self, _: dict[str, Any]) -> dict[str, Any]:
        """Do nothing."""
        return {}

    def guest_get_time(self, _: dict[str, Any]) -> int:
        """Return the clock in nanoseconds."""
        return time.time_ns()

    def guest_shutdown(self, arguments: dict[str, Any]) -> None:
        """Refuse an unknown mode, say nothing otherwise."""
        if arguments["mode"] not in {"powerdown", "halt", "reboot"}:
            raise ValueError("Invalid parameter 'mode'")

    def guest_exec(self, arguments: dict[str, Any]) -> dict[str, int]:
        """Start a process."""
        path = arguments["path"]
        if not os.access(path, os.X_OK):
            raise ValueError(
                "Guest agent command failed, error was 'Failed to execute child "
                f"process “{path}” (No such file or directory)'"
            )
        env = dict(entry.split("=", 1) for entry in arguments["env"])
        popen = process.Popen(
            [path, *arguments["arg"]],
            stdin=process.PIPE,
            stdout=process.PIPE,
            stderr=process.PIPE,
            env=env,
        )
        data = base64.b64decode(arguments.get("input-data", ""))
        thread = threading.Thread(target=self._collect, args=(popen, data))
        self.children[popen.pid] = ChildProcess(popen, thread)
        thread.start()
        return {"pid": popen.pid}

    def guest_exec_status(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Say whether a process has ended, once."""
        pid = arguments["pid"]
        if pid not in self.children:
            raise ValueError(f"PID {pid} does not exist")
        child = self.children[pid]
        if child.thread.is_alive():
            return {"exited": False}
        del self.children[pid]
        rc = child.popen.returncode
        answer: dict[str, Any] = {"exited": True}
        answer |= {"exitcode": rc} if rc >= 0 else {"signal": -rc}
        for key, data in (("out-data", child.out), ("err-data", child.err)):
            if data:
                answer[key] = base64.b64encode(data).decode()
        return answer

    def guest_file_open(self, arguments: dict[str, Any]) -> int:
        """Open a file."""
        handle = 1000 + len(self.files)
        self.files[handle] = open(arguments["path"], arguments["mode"] + "b")  # noqa: PTH123, SIM115
        return handle

    def guest_file_read(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Read a piece of an open file."""
        file = self.files[arguments["handle"]]
        data = file.read(arguments["count"])
        eof = len(data) < arguments["count"]
        text = base64.b64encode(data).decode()
        return {"count": len(data), "buf-b64": text, "eof": eof}

    def guest_file_write(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Write a piece, at most 64 KiB of it, as a short write would."""
        data = base64.b64decode(arguments["buf-b64"])[: 1 << 16]
        self.files[arguments["handle"]].write(data)
        return {"count": len(data), "eof": False}

    def guest_file_close(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Close a file."""
        self.files.pop(arguments["handle"]).close()
        return {}

    def _collect(self, popen: process.Popen[bytes], data: bytes) -> None:
        out, err = popen.communicate(data)
        child = self.children.get(popen.pid)
        if child is not None:
            child.out, child.err = out, err


@contextmanager
def serve(directory: Path) -> Iterator[AgentPeer]:
    """Run a peer behind `directory/qga.sock`, one client at a time, as QEMU does."""
    peer = AgentPeer(directory / "qga.sock")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    fd = os.open(directory, os.O_PATH)
    listener.bind(f"/proc/self/fd/{fd}/qga.sock")
    os.close(fd)
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
        listener.close()
        for child in list(peer.children.values()):
            process.kill(child.popen.pid)
            child.thread.join()


def _accept(
    listener: socket.socket, peer: AgentPeer, clients: list[socket.socket]
) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            clients.append(client)
            with client, client.makefile("rb") as lines:
                for line in lines:
                    client.sendall(peer.answer(line))


def _refusal(description: str) -> bytes:
    error = {"class": "GenericError", "desc": description}
    return json.dumps({"error": error}).encode() + b"\n"
