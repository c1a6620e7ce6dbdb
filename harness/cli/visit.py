"""`harness client`, `harness open`: the LAN of a running machine, from its client."""

from __future__ import annotations

import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from harness.cli import access, running
from harness.cli.say import err, out
from harness.errors import HarnessError, HostError, InputError, Mistake

if TYPE_CHECKING:
    from harness.cli.running import RunningMachine

LOOPBACK = "127.0.0.1"
_PORTS = {"http": 80, "https": 443}
_LAST_PORT = 65535
_BACKLOG = 64
_KILLED = 128 + signal.SIGKILL  # what is in a site ends so with it
_ANSWER_S = 10.0

OfMachine = Annotated[
    str | None,
    typer.Option("--vm", help="a machine of the site; needed when several sites run"),
]


def client(
    command: Annotated[
        list[str], typer.Argument(metavar="COMMAND...", help="such as: ping -c1 fw")
    ],
    vm: OfMachine = None,
) -> None:
    """Run a command on the LAN client of a running machine.

    It is a program of this computer with the client's address, its way and its name
    server: what it reaches is the site, and nothing beyond.
    """
    from harness.cli.session import attached, on_client  # noqa: PLC0415 - see the package

    machine = running.find_site(vm)
    raise typer.Exit(attached(on_client(machine, [*_here(), *command])))


def open_page(
    url: Annotated[
        str | None,
        typer.Argument(metavar="URL", help="http or https  [default: lab's page]"),
    ] = None,
    vm: OfMachine = None,
    port: Annotated[
        int, typer.Option(min=0, max=_LAST_PORT, help="here; 0 takes a free one")
    ] = 0,
) -> None:
    """Show a page of a machine's LAN in a browser here.

    Until Ctrl-C, it listens on this computer's loopback alone, and leads each
    connection to the page's host as the LAN client reaches it. The same port is a SOCKS
    5 proxy into the LAN.
    """
    from harness.cli.session import attached, on_client  # noqa: PLC0415 - see the package
    from harness.site import INSIDE  # noqa: PLC0415 - same

    machine = running.find_site(vm)
    page = url or _lab(machine)
    scheme, host, there = parse(page)
    with _listen(port) as listening:
        here = listening.getsockname()[1]
        out.print(introduction(page, scheme, host, here), markup=False)
        relay = [sys.executable, "-I", "-S", str(INSIDE / "relay.py")]
        argv = [*relay, str(listening.fileno()), host, str(there)]
        handles = [listening.fileno()]
        status = attached(on_client(machine, argv), pass_fds=handles)
    if status == _KILLED:
        err.print(f"The site of {machine.name} has ended.")
        status = 0
    raise typer.Exit(status)


def parse(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of a URL. Raises InputError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if parts.scheme not in _PORTS or not host:
        mistake = Mistake(
            "command line", "URL", url, "such as http://10.42.97.16:8080/"
        )
        raise InputError("no URL of a page", [mistake])
    return parts.scheme, host, port or _PORTS[parts.scheme]


def introduction(url: str, scheme: str, host: str, port: int) -> str:
    """Say where a browser of this computer finds the page."""
    parts = urlsplit(url)
    path = parts.path or "/"
    local = f"{scheme}://{LOOPBACK}:{port}{path}"
    if parts.query:
        local += f"?{parts.query}"
    return (
        f"{url} is, on this computer only:\n\n"
        f"  {local}\n\n"
        f"A page that is known by its name, such as {host}, needs a browser whose names"
        " are the site's:\n\n"
        f"  chromium --user-data-dir=$(mktemp -d) --proxy-server=socks5://{LOOPBACK}:"
        f"{port} {url}\n"
        f"  curl --proxy socks5h://{LOOPBACK}:{port} {url}\n\n"
        "Ctrl-C ends it."
    )


def _lab(machine: RunningMachine) -> str:
    """Return lab's URL at the address that the guest has now, if it can be asked."""
    address = machine.ip
    with suppress(HarnessError), access.guest_agent(machine, _ANSWER_S) as guest:
        address = next(iter(access.addresses(guest.transport, address)), address)
    return f"http://{address}:{machine.lab_port}/"


def _listen(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((LOOPBACK, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise HostError(
            f"port {port} of {LOOPBACK} cannot be used: {error.strerror}",
            hint="leave --port out: then a free one is taken",
        ) from None
    return listening


def _here() -> list[str]:
    """Begin in the directory that we are in, where the site has it.

    The site has a /run of its own.
    """
    here = Path.cwd()
    return [] if here.is_relative_to("/run") else ["env", f"--chdir={here}"]
