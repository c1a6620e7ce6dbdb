"""A person's tools on a real LAN: `harness client`, `harness open`, `harness sh`.

The machine is a host of the LAN with a real `sshd`; its guest agent is dead, so that
nothing is written to this computer as if it were the guest.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import sys
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness import process
from harness.cli.access import Key
from harness.cli.running import RunningMachine
from harness.cli.visit import parse
from harness.deadline import poll
from harness.errors import InputError
from harness.exits import Exit
from harness.guest import ssh
from harness.runtime import runtime_directory
from harness.site import open_site
from harness.testbed import announce
from tests.guest.test_ssh import HELPERS, SSHD, UNPACKED
from tests.screen import on_terminal
from tests.waiting import patient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.deadline import Deadline
    from harness.fleet import NetworkSpec
    from harness.site import LanHost, Site

HARNESS = [sys.executable, "-c", "from harness.cli import main; main()"]
PAGE = "http://10.42.97.5:8090/"


def soon() -> Deadline:
    """Give up long after a healthy test has ended."""
    return patient(30, "the test")


@contextmanager
def running_machine(site: Site, ip: str = "10.42.97.5") -> Iterator[RunningMachine]:
    """Be a machine of this user's that runs on the site, under a name of its own."""
    name = f"t-{secrets.token_hex(3)}"
    with runtime_directory() as run, ExitStack() as stack:
        directory = run / name
        directory.mkdir()
        wires = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        for wire, file in zip(wires, ("console.sock", "agent.sock"), strict=True):
            stack.enter_context(wire)
            wire.bind(str(directory / file))
        wires[0].listen()
        client = site.enter([], host=site.client.host)
        facts = {"name": name, "stage": "x", "pid": os.getpid(), "ip": ip}
        announce.write(directory, {**facts, "lab_port": 8090, "client": client})
        yield RunningMachine(name, directory, client=tuple(client))


def harness(
    *words: str, stdin: bytes = b"", cwd: Path | None = None
) -> process.Completed:
    """Run the command line to its end."""
    root = str(Path(__file__).parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return process.run(
        [*HARNESS, *words], deadline=soon(), stdin=stdin, cwd=cwd, env=env
    )


def test_a_command_runs_on_the_client(site: Site, tmp_path: Path) -> None:
    """With its address and name server, our streams, directory and exit status."""
    script = "cat; pwd; ip -4 -br address show eth0; echo oops >&2; exit 9"
    with running_machine(site) as machine:
        words = ("client", "--vm", machine.name, "sh", "-c", script)
        said = harness(*words, stdin=b"typed\n", cwd=tmp_path)
        words = ("client", "--vm", machine.name, "getent", "hosts", "dev.example.org")
        named = harness(*words)
        missing = harness("client", "--vm", machine.name, "no-such-program", "--help")
    typed, where, address = said.stdout.splitlines()
    assert (typed, where) == ("typed", str(tmp_path))
    assert str(site.client.ip) in address
    assert (said.rc, said.stderr) == (9, "oops\n")
    assert named.stdout.split() == ["10.42.97.15", "dev.example.org"]
    assert missing.rc in {126, 127}  # 126: a directory of PATH is closed
    assert "no-such-program" in missing.stderr


def test_ctrl_c_is_the_command_s_to_act_on(site: Site) -> None:
    """`ping` prints its statistics when it is interrupted; so may any program here."""
    script = "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.1; done"
    with (
        running_machine(site) as machine,
        on_terminal([*HARNESS, "client", "--vm", machine.name, "sh", "-c", script]) as (
            screen,
            child,
        ),
    ):
        screen.wait_for("ready")
        screen.type("\x03")
        screen.wait_for("caught")
        assert child.wait(20) == 5


def test_a_site_that_has_gone_leads_nowhere(site: Site) -> None:
    """Not even to this computer: a command must not run here instead."""
    with running_machine(site) as machine:
        gone = [
            word.replace(f"/proc/{os.getpid()}/", "/proc/0/") for word in machine.client
        ]
        facts = json.loads((machine.directory / announce.STATE).read_text())
        announce.write(machine.directory, {**facts, "client": gone})
        said = harness("client", "--vm", machine.name, "echo", "here")
    assert said.rc != 0
    assert said.stdout == ""


def test_a_page_is_shown_on_this_computer_s_loopback(site: Site) -> None:
    """By a forwarded port and by SOCKS, by address and by name, until Ctrl-C."""
    site.dns.set("svc.example.org", IPv4Address("10.42.97.5"))
    with running_machine(site) as machine:
        argv = [*HARNESS, "open", "--vm", machine.name, PAGE]
        with on_terminal(argv) as (screen, child):
            screen.wait_for("http://127.0.0.1:")
            port = int(screen.wait_for("/"))
            screen.wait_for("Ctrl-C ends it.")
            assert "forgejo-mcp: reached from 10.42.97.254" in fetch(port)
            by_name = fetch(port, socks=(b"\x03\x0fsvc.example.org", 8090))
            assert "forgejo-mcp: reached from 10.42.97.254" in by_name
            ip = IPv4Address("10.42.97.5").packed
            assert "forgejo-mcp" in fetch(port, socks=(b"\x01" + ip, 8090))
            refused = fetch(port, socks=(b"\x01" + ip, 9))
            assert refused == ""
            assert listeners(port) == {"127.0.0.1"}
            screen.type("\x03")
            assert child.wait(20) == 0
            assert "Traceback" not in screen.rest()
    assert listeners(port) == set()


def fetch(port: int, socks: tuple[bytes, int] | None = None) -> str:
    """GET / from a port of the loopback, perhaps by SOCKS; empty when refused."""
    with socket.create_connection(("127.0.0.1", port), soon().remaining) as wire:
        if socks:
            there, number = socks
            wire.sendall(b"\x05\x01\x00")
            assert wire.recv(2) == b"\x05\x00"
            wire.sendall(b"\x05\x01\x00" + there + number.to_bytes(2, "big"))
            if wire.recv(10)[1] != 0:
                return ""
        wire.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: wire.recv(4096), b"")).decode()


def listeners(port: int) -> set[str]:
    """Return the IPv4 addresses on which a port of this computer listens."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    found = {
        row[1].split(":")[0]
        for row in rows
        if row[3] == "0A" and int(row[1].split(":")[1], 16) == port
    }
    return {str(IPv4Address(bytes.fromhex(text)[::-1])) for text in found}


def test_a_page_ends_with_its_site(network: NetworkSpec, tmp_path: Path) -> None:
    """`harness up` takes it down: that is said, and is no error."""
    with ExitStack() as stack:
        opened = stack.enter_context(open_site(network, tmp_path, deadline=soon()))
        with running_machine(opened) as machine:
            argv = [*HARNESS, "open", "--vm", machine.name, PAGE]
            with on_terminal(argv) as (screen, child):
                screen.wait_for("http://127.0.0.1:")
                port = int(screen.wait_for("/"))
                screen.wait_for("Ctrl-C ends it.")
                assert "forgejo-mcp" in fetch(port)
                stack.close()
                screen.wait_for(f"The site of {machine.name} has ended.")
                assert child.wait(20) == 0


def test_a_guest_that_cannot_be_asked_is_one_message(site: Site) -> None:
    """Neither ssh nor the agent: the instrument failed, not the command."""
    with running_machine(site) as machine:
        said = harness("sh", machine.name, "--", "true")
    assert said.rc == Exit.BROKEN
    assert "lost the guest agent's socket" in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize(
    "url", ["", "lab", "ftp://lab/", "http://", "http://[", "http://lab:99999/"]
)
def test_what_is_no_page_is_refused(url: str) -> None:
    """With an example."""
    with pytest.raises(InputError, match="such as http://"):
        parse(url)
    assert parse("https://lab.example.org/a?b") == ("https", "lab.example.org", 443)


def test_a_taken_port_is_one_message(site: Site) -> None:
    """Exit status 2, and what to do."""
    with socket.socket() as taken, running_machine(site) as machine:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        said = harness("open", "--vm", machine.name, "--port", port, PAGE)
    assert said.rc == 2
    assert "Address already in use" in said.stderr
    assert "Traceback" not in said.stderr


@contextmanager
def guest_with_sshd(site: Site, directory: Path) -> Iterator[RunningMachine]:
    """Run a machine whose sshd knows the key that `harness sh` has for it."""
    if SSHD is None:
        pytest.skip("sshd is not installed or unpacked: .ci/packages --tests")
    if os.getuid() != 0:
        pytest.skip("needs root: sshd logs root in")
    ip = IPv4Address("10.42.97.33")
    with (
        site.lan_host(f"g{secrets.token_hex(2)}", ip) as host,
        running_machine(site, str(ip)) as machine,
    ):
        key = Key.of(machine)
        key.directory.mkdir()
        public = ssh.generate_key(key.file, soon())
        (directory / "authorized").write_text(f"{public}\n")
        host_key = ssh.generate_key(directory / "host", soon())
        key.known(ip).write_text(ssh.known_host(ip, 22, host_key))
        with site.sandbox.spawn(sshd(directory), host=host.host):
            poll(lambda: answers(site, host), soon())
            yield machine


def answers(site: Site, host: LanHost) -> bool | None:
    """Whether sshd listens."""
    return site.client.tcp(host.ip, 22, soon()) or None


def sshd(directory: Path) -> list[str]:
    """Return the command that runs sshd for a root whose home is empty."""
    options = {
        "AuthorizedKeysFile": str(directory / "authorized"),
        "StrictModes": "no",
        "PermitRootLogin": "yes",
        "PidFile": "none",
        "PrintMotd": "no",
        "SetEnv": f"HOME={directory} PS1=ready>",
    }
    for option, name in HELPERS.items():
        if (helper := UNPACKED / "usr/lib/openssh" / name).exists():
            options[option] = str(helper)
    users = Path("/etc/passwd").read_text().splitlines()
    users = [u for u in users if not u.startswith(("sshd:", "root:"))]
    users += ["sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin"]
    users += [f"root:x:0:0:root:{directory}:/bin/sh"]
    (directory / "passwd").write_text("\n".join([*users, ""]))
    libraries = ":".join(map(str, (UNPACKED / "usr/lib").glob("*-linux-gnu*")))
    enter = 'mount --bind "$0" /etc/passwd; mkdir -p /run/sshd; exec "$@"'
    argv = [str(SSHD), "-D", "-e", "-f", "none", "-h", str(directory / "host")]
    argv += [f"-o{name}={value}" for name, value in options.items()]
    return [
        *("env", f"LD_LIBRARY_PATH={libraries}", "unshare", "--mount"),
        *("sh", "-ec", enter, str(directory / "passwd"), *argv),
    ]


def test_a_command_has_the_streams_and_status_of_ssh(
    site: Site, tmp_path: Path
) -> None:
    """Words arrive unharmed, one is for the shell, input without words a script."""
    with guest_with_sshd(site, tmp_path) as machine:
        script = 'cat; printf "%s|" "$@"; echo oops >&2; exit 255'
        words = ["sh", "-c", script, "x", "a 'b", "$c", "--help"]
        said = harness("sh", machine.name, "--", *words, stdin=b"in ")
        assert (said.rc, said.stderr) == (255, "oops\n")
        assert said.stdout == "in a 'b|$c|--help|"
        piped = harness("sh", machine.name, "echo one two | wc -w")
        assert (piped.rc, piped.stdout.strip()) == (0, "2")
        lines = b"export A=5\necho $A\ncd /usr\npwd\n[ -t 0 ] || echo piped\nexit 3\n"
        ran = harness("sh", machine.name, stdin=lines)
        assert (ran.rc, ran.stdout) == (3, "5\n/usr\npiped\n")


def test_a_prompt_is_one_shell_on_a_terminal(site: Site, tmp_path: Path) -> None:
    """State lasts, Ctrl-C ends a command and not the shell, the size follows."""
    with (
        guest_with_sshd(site, tmp_path) as machine,
        on_terminal([*HARNESS, "sh", machine.name]) as (screen, child),
    ):
        screen.type("A=5; cd /usr\n")
        screen.type("echo A is $A in $(pwd), $(stty size)\n")
        screen.wait_for("A is 5 in /usr, 24 80")
        screen.resize(40, 120)
        screen.type("sleep 0.5; echo size is $(stty size)\n")
        screen.wait_for("size is 40 120")
        screen.type("echo wait''ing; sleep 100\n")
        screen.wait_for("waiting")
        screen.type("\x03")
        screen.type("echo sti''ll in $(pwd)\n")
        screen.wait_for("still in /usr")
        screen.type("exit 4\n")
        assert child.wait(20) == 4


def test_a_shell_ends_with_the_program_that_opened_it(
    site: Site, tmp_path: Path
) -> None:
    """A terminal that closes, or a kill, leaves no ssh behind."""
    with guest_with_sshd(site, tmp_path) as machine:
        before = set(site.sandbox.processes())
        with on_terminal([*HARNESS, "sh", machine.name]) as (screen, child):
            screen.type("echo be''gun\n")
            screen.wait_for("begun")
            assert set(site.sandbox.processes()) - before
            os.kill(child.pid, signal.SIGKILL)
        poll(lambda: set(site.sandbox.processes()) <= before or None, soon())
