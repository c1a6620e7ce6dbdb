"""The authentication service of the web VM: it stands in for Authelia.

    portal.py FD          on a listening socket; standard input says what it knows:
                          {"portal": NAME, "domain": DOMAIN, "users": {NAME: PASSWORD}}

    GET  /api/authz/auth-request   200 and Remote-User for a session, else 401 and where
                                   to log in
    POST /api/firstfactor          {"username": ..., "password": ...}: a session, as a
                                   cookie of the whole domain, or 401
    GET  /                         the login page

The paths, headers and the cookie's name are Authelia's. Sessions live in memory.
"""

import json
import secrets
import socket
import sys
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

COOKIE = "authelia_session"
BODY_MAX = 4096


class Portal(BaseHTTPRequestHandler):
    """Who may come in."""

    protocol_version = "HTTP/1.1"
    timeout = 10
    portal = ""
    domain = ""
    users: dict[str, str] = {}  # noqa: RUF012 - there is one portal in a process
    sessions: dict[str, str] = {}  # noqa: RUF012 - same

    def do_GET(self) -> None:
        """Say whether a request has a session, or show the login page."""
        if self.path != "/api/authz/auth-request":
            self.answer(200, "Please log in.\n")
            return
        morsel = SimpleCookie(self.headers.get("Cookie", "")).get(COOKIE)
        user = self.sessions.get(morsel.value) if morsel else None
        if user is not None:
            self.answer(200, "", {"Remote-User": user})
            return
        wanted = quote(self.headers.get("X-Original-URL", ""), safe="")
        self.answer(401, "", {"Location": f"https://{self.portal}/?rd={wanted}"})

    def do_POST(self) -> None:
        """Open a session for a user with the right password."""
        length = min(int(self.headers.get("Content-Length", "0")), BODY_MAX)
        said = json.loads(self.rfile.read(length) or "{}")
        user, password = str(said.get("username")), str(said.get("password"))
        right = self.users.get(user)
        if right is None or not secrets.compare_digest(right, password):
            self.answer(401, "")
            return
        token = secrets.token_urlsafe(32)
        self.sessions[token] = user
        scope = f"Domain={self.domain}; Path=/; Secure; HttpOnly; SameSite=Lax"
        self.answer(200, "", {"Set-Cookie": f"{COOKIE}={token}; {scope}"})

    def answer(
        self, status: int, text: str, headers: dict[str, str] | None = None
    ) -> None:
        """Send one short page."""
        page = text.encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)


def main() -> None:
    """Serve until killed."""
    told = json.load(sys.stdin)
    Portal.portal, Portal.domain = told["portal"], told["domain"]
    Portal.users = told["users"]
    listening = socket.socket(fileno=int(sys.argv[1]))
    address = listening.getsockname()
    server = ThreadingHTTPServer(address, Portal, bind_and_activate=False)
    server.socket.close()
    server.socket = listening
    server.serve_forever()


if __name__ == "__main__":
    main()
