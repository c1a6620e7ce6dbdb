"""The ssh transport: its command line, and a real `sshd`."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness import process
from harness.deadline import Deadline
from harness.errors import DeadlineExpired, MachineError
from harness.guest import ssh
from harness.host import cache_dir
from tests.waiting import patient

if TYPE_CHECKING:
    from collections.abc import Iterator

# Installed, or unpacked by `.ci/packages --tests`.
UNPACKED = cache_dir() / "sshd"
SSHD = next(
    (
        path
        for path in (Path("/usr/sbin/sshd"), UNPACKED / "usr/sbin/sshd")
        if path.exists()
    ),
    None,
)
# Programs that sshd runs, since OpenSSH 9.8 and 10.0.
HELPERS = {"SshdSessionPath": "sshd-session", "SshdAuthPath": "sshd-auth"}
# sshd separates its privileges in the name of a user that its package would make, in a
# directory that its unit would make.
ENTER = """
mount --bind "$0" /etc/passwd
mount -t tmpfs tmpfs /run
mkdir /run/sshd
exec "$@"
"""
HOME = IPv4Address("127.0.0.1")


@pytest.fixture
def sshd() -> Path:
    """Skip where there is no sshd, or a login as root is impossible."""
    if SSHD is None:
        pytest.skip("sshd is not installed or unpacked: .ci/packages --tests")
    if os.getuid() != 0:
        pytest.skip("needs root: sshd logs root in")
    return SSHD


def soon() -> Deadline:
    """Give up long after a healthy test has ended."""
    return patient(20, "ssh")


def here(argv: object) -> list[str]:
    """Enter nothing: the client runs on this computer."""
    assert isinstance(argv, list)
    return [str(word) for word in argv]


def test_no_configuration_of_the_user_is_read(tmp_path: Path) -> None:
    """Nor its agent or its known hosts."""
    argv = ssh.command(
        HOME, 22, key=tmp_path / "k", known=tmp_path / "h", control=tmp_path / "c"
    )
    assert argv[:3] == ["ssh", "-F", "none"]
    assert argv[-1] == "root@127.0.0.1"
    for option in (
        "-oStrictHostKeyChecking=yes",
        "-oBatchMode=yes",
        "-oIdentityAgent=none",
        f"-oIdentityFile={tmp_path}/k",
        f"-oUserKnownHostsFile={tmp_path}/h",
    ):
        assert option in argv


def test_paths_survive_ssh_s_own_parser() -> None:
    """A blank would end the value, and a percent sign would be expanded."""
    path = Path("/tmp/a b%c")  # noqa: S108
    argv = ssh.command(HOME, 22, key=path, known=path, control=path)
    assert '-oIdentityFile="/tmp/a b%%c"' in argv


def test_a_port_is_part_of_the_known_host() -> None:
    """A host on another port is another host; the key's comment is dropped."""
    assert ssh.known_host(HOME, 22, "ssh-ed25519 AAAA me@x") == (
        "127.0.0.1 ssh-ed25519 AAAA\n"
    )
    assert ssh.known_host(HOME, 2222, "ssh-ed25519 AAAA").startswith("[127.0.0.1]:2222")


def test_nobody_there_is_said_in_time(tmp_path: Path) -> None:
    """A guest that does not listen runs into the deadline, with ssh's words."""
    ssh.generate_key(tmp_path / "key", soon())
    with socket.socket() as free:
        free.bind((str(HOME), 0))
        port = free.getsockname()[1]
    with (
        pytest.raises(DeadlineExpired, match="the guest"),
        ssh.connect(
            HOME,
            directory=tmp_path,
            key=tmp_path / "key",
            host_key="ssh-ed25519 AAAA",
            enter=here,
            deadline=Deadline.after(0.5, "the guest"),
            port=port,
        ),
    ):
        pass


@contextmanager
def server(sshd: Path, directory: Path) -> Iterator[tuple[int, str]]:
    """Run an sshd; yield its port and its public host key.

    It runs in a mount namespace of its own, whose /etc/passwd has the user `sshd`.
    """
    host_key = ssh.generate_key(directory / "host", soon())
    ssh.generate_key(directory / "key", soon())
    with socket.socket() as free:
        free.bind((str(HOME), 0))
        port = free.getsockname()[1]
    argv = [str(sshd), "-D", "-e", "-f", "none", "-h", str(directory / "host")]
    options = {
        "Port": str(port),
        "ListenAddress": str(HOME),
        "AuthorizedKeysFile": str(directory / "key.pub"),
        "StrictModes": "no",
        "PermitRootLogin": "yes",
        "PidFile": "none",
        # Away from the dotfiles that bash runs for sshd (bash(1), "rshd or sshd").
        "SetEnv": f"HOME={directory}",
    }
    for option, name in HELPERS.items():
        if (helper := UNPACKED / "usr/lib/openssh" / name).exists():
            options[option] = str(helper)
    argv += [f"-o{k}={v}" for k, v in options.items()]
    users = Path("/etc/passwd").read_text().splitlines()
    users = [user for user in users if not user.startswith("sshd:")]
    users.append("sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin")
    (directory / "passwd").write_text("\n".join([*users, ""]))
    libraries = ":".join(map(str, (UNPACKED / "usr/lib").glob("*-linux-gnu*")))
    with process.spawn(
        ["unshare", "--mount", "sh", "-ec", ENTER, str(directory / "passwd"), *argv],
        env={**os.environ, "LD_LIBRARY_PATH": libraries},
    ):
        yield port, host_key


def test_commands_go_over_one_kept_connection(sshd: Path, tmp_path: Path) -> None:
    """Arguments, input, output and exit status arrive unharmed."""
    with (
        server(sshd, tmp_path) as (port, host_key),
        ssh.connect(
            HOME,
            directory=tmp_path,
            key=tmp_path / "key",
            host_key=host_key,
            enter=here,
            deadline=soon(),
            port=port,
        ) as guest,
    ):
        argv = ["sh", "-c", 'cat; printf "%s|" "$@" $HOME; exit 255', "x", "a 'b", "$c"]
        done = guest.execute(argv, deadline=soon(), stdin=b"in ")
        assert (done.rc, done.stdout) == (255, "in a 'b|$c|/root|")


def test_a_wrong_host_key_is_refused(sshd: Path, tmp_path: Path) -> None:
    """A guest with another key than the one that it was given gets no command."""
    with server(sshd, tmp_path) as (port, _):
        other = ssh.generate_key(tmp_path / "other", soon())
        with (
            pytest.raises(MachineError, match="Host key verification failed"),
            ssh.connect(
                HOME,
                directory=tmp_path,
                key=tmp_path / "key",
                host_key=other,
                enter=here,
                deadline=soon(),
                port=port,
            ),
        ):
            pass
