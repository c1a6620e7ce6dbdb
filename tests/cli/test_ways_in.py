"""What `harness up` says of the ways in, and the login that `harness console` types."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from harness.cli.consoles import _log_in
from harness.cli.up import introduction
from harness.qemu import Console

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ADDRESS = IPv4Address("10.42.97.16")
PASSWORD = "5f3a90c1"  # noqa: S105 - of a getty that this file has


@pytest.mark.parametrize(
    ("password", "said"),
    [(PASSWORD, f"root's password is {PASSWORD}"), ("", "root has no password")],
)
def test_up_says_from_where_a_machine_is_reachable(password: str, said: str) -> None:
    """This computer reaches no address of the LAN: only the commands lead there."""
    machine: Any = SimpleNamespace(
        name="dev",
        vm=SimpleNamespace(mem=1024, vcpu=2),
        accelerator=SimpleNamespace(name="tcg"),
        site=SimpleNamespace(network=SimpleNamespace(hosts={"dev.test": ADDRESS})),
        directory="/var/tmp/run/dev",  # noqa: S108 - a text
    )
    text = introduction(machine, "onboarded", ADDRESS, password)
    assert f"Its address {ADDRESS} (dev.test) is known in its own LAN alone" in text
    for way in ("sh dev", "console dev", "monitor dev", "client", "open"):
        assert f"  harness {way} " in text
    assert said in text


class Getty:
    """A serial console that asks for a name and a password, and records both."""

    def __init__(self, log: Path, path: Path) -> None:
        self.log = log
        self.typed: list[str] = []
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(path))
        self.listening.listen(8)

    def serve(self) -> None:
        """Answer each line as getty and login do, until the socket is shut down."""
        answers = ["\r\ndev login: ", "Password: ", "\r\n[root@dev:~]# "]
        while True:
            try:
                wire, _ = self.listening.accept()
            except OSError:
                return
            with wire, wire.makefile("r") as lines:
                for line in lines:
                    self.typed.append(line.rstrip("\n"))
                    answer = answers[min(len(self.typed), len(answers)) - 1]
                    with self.log.open("a") as log:
                        log.write(answer)


@contextmanager
def getty(log: Path, path: Path) -> Iterator[Getty]:
    """Serve a console for the length of the `with`."""
    one = Getty(log, path)
    thread = threading.Thread(target=one.serve, name="getty")
    thread.start()
    try:
        yield one
    finally:
        one.listening.shutdown(socket.SHUT_RDWR)
        thread.join()
        one.listening.close()


def test_the_console_logs_root_in(tmp_path: Path) -> None:
    """The password that `up` set is typed where it is asked for, and nowhere else."""
    log, path = tmp_path / "console.log", tmp_path / "console.sock"
    with getty(log, path) as one:
        _log_in(Console(log, path), PASSWORD)
    assert one.typed[:3] == ["", "root", PASSWORD]
    assert one.typed.count(PASSWORD) == 1
    assert Console(log, path).text.endswith("# ")
