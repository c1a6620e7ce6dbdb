"""A service on the LAN: a small web server on a listening socket handed in.

    serve.py NAME FD

Answers every GET with 200 and a page that names the service and who asked, so that
reaching it can be told from reaching anything else.
"""

import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Page(BaseHTTPRequestHandler):
    """The only page."""

    protocol_version = "HTTP/1.1"
    timeout = 10
    service = ""

    def do_GET(self) -> None:
        """Say who we are and who asked."""
        page = f"{self.service}: reached from {self.client_address[0]}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)


def main() -> None:
    """Serve until killed."""
    Page.service, handle = sys.argv[1], int(sys.argv[2])
    listening = socket.socket(fileno=handle)
    server = ThreadingHTTPServer(listening.getsockname(), Page, bind_and_activate=False)
    server.socket.close()
    server.socket = listening
    server.serve_forever()


if __name__ == "__main__":
    main()
