"""A service on the LAN: a small web server on a listening socket handed in.

    serve.py NAME FD

Answers every GET with 200 and a page that names the service, the client, and the user
that a proxy names, so that no other service's page looks the same. Two paths stay open:
`/events` counts without end as server-sent events, `/echo` is a WebSocket that returns
what it receives.
"""

import base64
import hashlib
import select
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

EVENT_PERIOD = 0.1
WEBSOCKET_KEY = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455
MASK_LENGTH = 4


class PageHandler(BaseHTTPRequestHandler):
    """The pages and streams of the service."""

    protocol_version = "HTTP/1.1"
    timeout = 10
    service = ""

    def do_GET(self) -> None:
        """Route one request."""
        routes = {"/events": self.count, "/echo": self.echo}
        routes.get(self.path, self.introduce)()

    def introduce(self) -> None:
        """Say who we are, who asked, and for whom."""
        text = f"{self.service}: reached from {self.client_address[0]}\n"
        if user := self.headers.get("Remote-User"):
            text += f"as {user}\n"
        page = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def count(self) -> None:
        """Send the next number until the other side closes."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        number = 0
        while not select.select([self.connection], [], [], EVENT_PERIOD)[0]:
            number += 1
            self.wfile.write(f"data: {number}\n\n".encode())

    def echo(self) -> None:
        """Answer each short text frame with its own text."""
        self.close_connection = True
        if self.headers.get("Upgrade", "").lower() != "websocket":
            self.send_error(426)
            return
        key = self.headers.get("Sec-WebSocket-Key", "") + WEBSOCKET_KEY
        digest = hashlib.sha1(key.encode(), usedforsecurity=False).digest()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(digest).decode())
        self.end_headers()
        self.connection.settimeout(None)
        while head := self.rfile.read(2):
            length = head[1] & 0x7F
            mask = self.rfile.read(MASK_LENGTH)
            masked = self.rfile.read(length)
            text = bytes(b ^ mask[i % MASK_LENGTH] for i, b in enumerate(masked))
            self.wfile.write(bytes([head[0], length]) + text)


class Server(ThreadingHTTPServer):
    """Serves on a socket that was handed in."""

    daemon_threads = True

    def __init__(self, handle: int) -> None:
        listening = socket.socket(fileno=handle)
        super().__init__(listening.getsockname(), PageHandler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening

    def handle_error(self, *_: object) -> None:
        """Keep silent about a peer that went: that is how streams end."""


def main() -> None:
    """Serve until killed."""
    PageHandler.service = sys.argv[1]
    Server(int(sys.argv[2])).serve_forever()


if __name__ == "__main__":
    main()
