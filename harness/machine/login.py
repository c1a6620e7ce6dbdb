"""A user's login: ssh with its own key, from the LAN client."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.guest import ssh

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.guest.ssh import SshTransport
    from harness.machine.handle import Machine

_LOGIN_S = 60.0
_HOST_KEY = "/etc/ssh/ssh_host_ed25519_key.pub"
_LET_IN = "umask 077; mkdir -p /root/.ssh; cat >>/root/.ssh/authorized_keys"


@contextmanager
def log_in(machine: Machine) -> Iterator[SshTransport]:
    """Hold an ssh connection to a machine as root for the length of the `with`.

    The key is let in as the person's seed would have it; the host's is known
    beforehand. Raises MachineError with ssh's own words, or DeadlineExpired.
    """
    directory = machine.directory / "ssh"
    directory.mkdir(mode=0o700, exist_ok=True)
    key = directory / "key"
    deadline = machine.deadline(_LOGIN_S, "a login by ssh")
    if not key.exists():
        public = ssh.generate_key(key, deadline)
        machine.succeed("sh", "-c", _LET_IN, stdin=f"{public}\n".encode())
    with ssh.connect(
        machine.vm.ip,
        directory=directory,
        key=key,
        host_key=machine.read_file(_HOST_KEY).strip(),
        enter=lambda argv: machine.site.enter(argv, host=machine.site.client.host),
        deadline=deadline,
    ) as transport:
        yield transport
