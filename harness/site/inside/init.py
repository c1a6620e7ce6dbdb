"""The sandbox's first process: holds its namespaces, reaps, hands out sockets.

    init.py SCRIPT             SCRIPT is a file for sh that makes what is inside

Standard input is one end of a SOCK_SEQPACKET pair. When the other end closes, because
its owner closed it or died for any reason, this process ends, and the kernel ends
everything else in the PID namespace with it.

A request is `{"host": NAME or null, "family": F, "type": T, "protocol": P}`; the answer
is `{}` with the descriptor of a socket that lives in that host's network namespace, or
`{"error": TEXT}`.
"""

import ctypes
import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress

CLONE_NEWNET = 0x40000000
REQUEST_MAX = 4096

libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Serve until the other end is gone."""
    control = socket.socket(fileno=0)
    # Ctrl-C in a terminal reaches the whole process group; the end of this process is
    # decided by the other end of the socket alone.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if not furnish(control, sys.argv[1]):
        sys.exit(1)
    signal.signal(signal.SIGCHLD, reap)
    reap()
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    control.send(b"ready")
    while request := control.recv(REQUEST_MAX):
        answer(control, home, json.loads(request))


def furnish(control: socket.socket, script: str) -> bool:
    """Run the script; say whether it did its work before the other end was gone."""
    no_input = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    argv = ["sh", script]
    child = os.posix_spawnp("sh", argv, os.environ, file_actions=[no_input])
    ended = os.pidfd_open(child)
    waiting = select.poll()
    waiting.register(control, select.POLLIN)
    waiting.register(ended, select.POLLIN)
    if any(number != ended for number, _ in waiting.poll()):
        return False
    os.close(ended)
    return os.waitpid(child, 0)[1] == 0


def answer(control: socket.socket, home: int, request: dict[str, object]) -> None:
    """Send one socket, or why there is none."""
    try:
        made = make_socket(home, request)
    except OSError as error:
        control.send(json.dumps({"error": str(error)}).encode())
        return
    with made:
        socket.send_fds(control, [b"{}"], [made.fileno()])


def make_socket(home: int, request: dict[str, object]) -> socket.socket:
    """Make a socket in the network namespace of a host, or in the gateway's."""
    kind = (int(str(request[key])) for key in ("family", "type", "protocol"))
    if request["host"] is None:
        return socket.socket(*kind)
    there = os.open(f"/run/netns/{request['host']}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(there)
        try:
            return socket.socket(*kind)
        finally:
            enter(home)
    finally:
        os.close(there)


def enter(namespace: int) -> None:
    """Join a network namespace (os.setns came with Python 3.12)."""
    if libc.setns(namespace, CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"setns: {os.strerror(code)}")


def reap(*_: object) -> None:
    """Take in every orphan that has ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0] != 0:
            pass


if __name__ == "__main__":
    main()
