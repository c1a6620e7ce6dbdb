"""lab, the stand-in: a small web service whose sessions live in tmux.

Like the real one (Cloonar/coding-lab, docs/reference/lab-v0): tmux is the source of
truth for which sessions live, the tmux server belongs to lab's own service and control
group, sits on tmux's default socket, and outlives lab: after a restart lab finds its
sessions by asking tmux.

    GET  /          200, an HTML page that names every live session
    GET  /sessions  200, {"sessions": [...], "revision": N}
    POST /sessions  {"name": ..., "command": ...} starts one: 201, or 409 if it exists
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import _thread
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

PORT = 8080
LONGEST_NAME = 64
LARGEST_REQUEST = 1 << 16
REASONS = {
    200: "OK",
    201: "Created",
    400: "Bad Request",
    404: "Not Found",
    409: "Conflict",
    500: "Internal Server Error",
}

Answer = tuple[int, str, str]


def tmux(*arguments: str) -> tuple[int, str]:
    """Ask tmux; its exit status and what it printed, both streams."""
    reading, writing = os.pipe()
    actions = [
        (os.POSIX_SPAWN_DUP2, writing, 1),
        (os.POSIX_SPAWN_DUP2, writing, 2),
        (os.POSIX_SPAWN_CLOSE, reading),
    ]
    pid = os.posix_spawnp(
        "tmux", ["tmux", *arguments], os.environ, file_actions=actions
    )
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8", errors="replace") as pipe:
        text = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text


def adopt() -> list[str]:
    """Make sure of a tmux server in this service, and find the sessions it has.

    `exit-empty off` keeps an empty server, so that every session, started by lab or by
    tmux itself, starts here.
    """
    tmux("start-server", ";", "set-option", "-s", "exit-empty", "off")
    return sessions()


def sessions() -> list[str]:
    """Names of the live sessions. A failure of tmux means unknown, not none."""
    status, text = tmux("list-sessions", "-F", "#{session_name}")
    if status != 0 and "no server" not in text and "no sessions" not in text:
        raise OSError(f"tmux list-sessions: {text.strip()}")
    return sorted(text.split()) if status == 0 else []


def page(revision: int, names: list[str]) -> str:
    """Return the page for people, and for tests that look for session names."""
    items = "".join(f'<li class="session">{name}</li>\n' for name in names)
    return (
        f"<!doctype html>\n<title>lab</title>\n<h1>lab, revision {revision}</h1>\n"
        f"<p>{len(names)} live sessions</p>\n<ul>\n{items}</ul>\n"
    )


def start(body: bytes) -> Answer:
    """Start a session from a JSON request."""
    import json  # noqa: PLC0415 - a quarter of lab's start-up time, and only needed here

    try:
        wanted: dict[str, Any] = json.loads(body)
        name, command = str(wanted["name"]), str(wanted.get("command", ""))
    except (ValueError, KeyError, TypeError):
        return 400, "text/plain", 'expected {"name": ..., "command": ...}\n'
    plain = name.replace("-", "a").replace("_", "a")
    if len(name) > LONGEST_NAME or not (plain.isascii() and plain.isalnum()):
        return (
            400,
            "text/plain",
            "a session's name is made of letters, digits, - and _\n",
        )
    if name in sessions():
        return 409, "text/plain", f"session {name} exists\n"
    argv = ["new-session", "-d", "-s", name, "-x", "120", "-y", "40"]
    status, text = tmux(*argv, *([command] if command else []))
    if status != 0:
        return 500, "text/plain", text
    return 201, "application/json", f'{{"name": "{name}"}}\n'


def answer(method: str, path: str, body: bytes, revision: int) -> Answer:
    """Route one request."""
    if method == "GET" and path == "/":
        return 200, "text/html; charset=utf-8", page(revision, sessions())
    if method == "GET" and path == "/sessions":
        names = ", ".join(f'"{name}"' for name in sessions())
        listing = f'{{"revision": {revision}, "sessions": [{names}]}}\n'
        return 200, "application/json", listing
    if method == "POST" and path == "/sessions":
        return start(body)
    return 404, "text/plain", "not here\n"


def read_request(connection: _socket.socket) -> tuple[str, str, bytes]:
    """Return method, path and body of an HTTP/1.x request."""
    data = b""
    while b"\r\n\r\n" not in data and len(data) < LARGEST_REQUEST:
        chunk = connection.recv(4096)
        if not chunk:
            break
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    method, path, _ = lines[0].split(" ", 2)
    length = 0
    for line in lines[1:]:
        key, _, value = line.partition(":")
        if key.lower() == "content-length":
            length = min(int(value), LARGEST_REQUEST)
    while len(body) < length and (chunk := connection.recv(4096)):
        body += chunk
    return method, path.partition("?")[0], body


def serve(connection: _socket.socket, revision: int) -> None:
    """Answer one connection and close it."""
    try:
        connection.settimeout(10)
        connection.sendall(response(connection, revision))
    except (OSError, ValueError):
        return  # the client is gone, or never spoke HTTP
    finally:
        connection.close()


def response(connection: _socket.socket, revision: int) -> bytes:
    """Read one request and return the bytes to answer it with."""
    request = read_request(connection)
    try:
        status, kind, text = answer(*request, revision)
    except OSError as error:
        status, kind, text = 500, "text/plain", f"{error}\n"
    body = text.encode()
    head = (
        f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


def listen(port: int) -> _socket.socket:
    """Return the socket, on all addresses."""
    server = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    server.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    server.bind(("0.0.0.0", port))  # noqa: S104 - the point of the service
    server.listen(64)
    return server


def check_master_key(path: str | None) -> None:
    """Demand the master key, where one is configured.

    What was encrypted with the real one is lost to a lab that makes itself another.
    """
    if path is None:
        return
    try:
        with open(path, "rb") as file:
            found = file.read()
    except OSError as error:
        raise SystemExit(f"lab: no master key: {error}") from error
    if not found.strip():
        raise SystemExit(f"lab: no master key: {path} is empty")


def main(revision: int) -> NoReturn:
    """Entry point: adopt, then serve for ever."""
    _signal.signal(_signal.SIGTERM, lambda *_: os._exit(0))
    check_master_key(os.environ.get("LAB_MASTER_KEY_FILE"))
    found = adopt()
    sys.stderr.write(
        f"lab revision {revision}: adopted {len(found)} sessions {' '.join(found)}\n"
    )
    server = listen(int(os.environ.get("LAB_PORT", PORT)))
    while True:
        # Not inherited by tmux, which would keep the connection open for ever.
        descriptor, _ = server._accept()  # type: ignore[attr-defined]  # noqa: SLF001
        connection = _socket.socket(fileno=descriptor)
        _thread.start_new_thread(serve, (connection, revision))
