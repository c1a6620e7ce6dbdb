"""A testinfra backend that runs commands through a transport.

`testinfra_host(transport)` gives suites the ordinary testinfra modules.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from testinfra.backend.base import BaseBackend, CommandResult
from testinfra.host import Host

from harness.deadline import Deadline
from harness.guest.transport import abbreviate

if TYPE_CHECKING:
    from harness.guest.transport import Transport

# testinfra passes no deadlines; a module's question is a small command.
_SECONDS = 120.0


class TransportBackend(BaseBackend):
    """testinfra's view of a transport; each command is one `sh -c` in the guest."""

    NAME = "transport"

    def __init__(
        self, hostname: str, *, transport: Transport, timeout: float, **kwargs: Any
    ) -> None:
        super().__init__(hostname, **kwargs)
        self.transport = transport
        self.timeout = timeout
        # Asking the guest for its encoding would start two Pythons that it lacks.
        self._encoding = "utf-8"

    def run(self, command: str, *args: str, **_: Any) -> CommandResult:
        """Run a shell command as root, or as testinfra's `sudo` says."""
        line = self.get_command(command, *args)
        argv = ["/bin/sh", "-c", line]
        deadline = Deadline.after(self.timeout, abbreviate(argv))
        done = self.transport.execute(argv, deadline=deadline)
        return self.result(done.rc, self.encode(line), done.stdout, done.stderr)

    def get_sudo_command(self, command: str, sudo_user: str | None) -> str:
        """Become another user without `sudo`: the transport is root already."""
        inner = shlex.quote(command)
        if sudo_user is None:
            return f"/bin/sh -c {inner}"
        return f"runuser -u {shlex.quote(sudo_user)} -- /bin/sh -c {inner}"


def testinfra_host(
    transport: Transport,
    name: str = "machine",  # noqa: PT028  # not a test, see below
    *,
    timeout: float = _SECONDS,  # noqa: PT028
) -> Any:
    """Return a testinfra host whose commands go through a transport.

    `timeout` is in seconds, for each command. The type is open, because testinfra's
    modules are attributes that no type checker can see.
    """
    backend = TransportBackend(name, transport=transport, timeout=timeout)
    host = Host(backend)
    backend.set_host(host)
    return host


# pytest would take the name for a test's wherever a test module imports it.
vars(testinfra_host)["__test__"] = False
