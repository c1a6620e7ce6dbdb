"""The harness's own services in the sandbox, each a program of `inside/`."""

from __future__ import annotations

import socket
import sys
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING

from harness.process import DEVNULL
from harness.site.sandbox import INSIDE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.site.lan import LanHost
    from harness.site.sandbox import Resident, Sandbox

_BACKLOG = 16


@contextmanager
def serve(
    sandbox: Sandbox,
    host: LanHost,
    port: int,
    program: Sequence[str],
    *,
    log: str,
    stdin: int | IO[bytes] = DEVNULL,
) -> Iterator[Resident]:
    """Run a program of `inside/` on a host's port for the length of the `with`.

    Its last argument is the listening socket, which exists before the program starts:
    no client has to wait for it.
    """
    name, *arguments = program
    with host.open_socket() as listening, ExitStack() as stack:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((str(host.ip), port))
        listening.listen(_BACKLOG)
        said = stack.enter_context((sandbox.directory / log).open("ab"))
        argv = [sys.executable, "-I", "-S", str(INSIDE / name), *arguments]
        yield stack.enter_context(
            sandbox.spawn(
                [*argv, str(listening.fileno())],
                host=host.host,
                stdin=stdin,
                stdout=said,
                stderr=said,
                pass_fds=[listening.fileno()],
                needed=f"the server of {host.name} on port {port}",
            )
        )
