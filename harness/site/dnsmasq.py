"""The LAN's name server: a real dnsmasq that knows the site and nothing beyond."""

from __future__ import annotations

import signal
import socket
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

from harness.deadline import Deadline, poll
from harness.errors import InputError, Mistake, ProcessFailed
from harness.site.sandbox import end

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from harness.site.lan import LanHost
    from harness.site.sandbox import Resident, Sandbox

PORT = 53
NO_ANSWER = "NO-ANSWER"
_START_BUDGET = 10.0
_ASK_AGAIN = 0.02
_QUERY_BUDGET = 2.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the name server said.

    `rcode` in DNS's words, NO-ANSWER when nothing came in time; `ttl` in seconds, the
    shortest of the answer's, None without records. `ipv6` has what AAAA records say.
    """

    addresses: tuple[IPv4Address, ...]
    rcode: str
    ttl: int | None
    ipv6: tuple[IPv6Address, ...] = ()


class Dns:
    """The running dnsmasq: change what it knows, restart it, ask it.

    `set` and `remove` write the configuration and restart, as a deployment of fw does:
    dnsmasq does not read its configuration again on SIGHUP. `options` are further lines
    of its configuration, for faults (a lease, a TTL); they count from the next restart.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        gateway: LanHost,
        client: LanHost,
        records: Mapping[str, Sequence[IPv4Address]],
    ) -> None:
        self._capsule = sandbox
        self._gateway = gateway
        self._client = client
        self._records = {name: tuple(ips) for name, ips in records.items()}
        self._process: Resident | None = None
        self._lifetime = ExitStack()
        self.options: list[str] = []
        self.log: Path = sandbox.directory / "dnsmasq.log"
        self.config: Path = sandbox.directory / "dnsmasq.conf"
        self.errors: Path = sandbox.directory / "dnsmasq.err"

    @property
    def records(self) -> dict[str, tuple[IPv4Address, ...]]:
        """What its configuration says; what it answers may lag behind a restart."""
        return dict(self._records)

    @property
    def pid(self) -> int:
        """The PID of the dnsmasq that answers now."""
        if self._process is None or not self._process.running:
            raise ProcessFailed("dnsmasq is not running", evidence=self._last_lines())
        return self._process.pid

    def set(self, name: str, *ips: IPv4Address, restart: bool = True) -> None:
        """Give a name these addresses and no others."""
        self._records[_checked_name(name)] = ips
        self._changed(restart=restart)

    def remove(self, name: str, *, restart: bool = True) -> None:
        """Let a name be unknown; it may be already."""
        self._records.pop(name, None)
        self._changed(restart=restart)

    def restart(self) -> None:
        """End dnsmasq, start it on the configuration as it is now, await an answer."""
        self._lifetime.close()
        self._write()
        # In its debug mode it stays the user it is: a rootless sandbox has only one.
        binary = ["dnsmasq", "--no-daemon", f"--conf-file={self.config}"]
        errors = self._lifetime.enter_context(self.errors.open("wb"))
        self._process = self._lifetime.enter_context(
            self._capsule.spawn(binary, stderr=errors, needed="dnsmasq of the site")
        )
        awaited = Deadline.after(_START_BUDGET, "dnsmasq to answer")
        try:
            poll(self._answers, awaited, interval=0.01)
        except BaseException:
            self._capsule.release(self._process)  # its end is said by this error
            raise

    def kill(self) -> None:
        """Let dnsmasq crash: SIGKILL, and wait for its end."""
        if self._process is not None:
            self._capsule.release(self._process)
            end(self._process, grace=_START_BUDGET, signs=[signal.SIGKILL])

    def query(
        self,
        name: str,
        rdtype: str = "A",
        *,
        from_host: LanHost | None = None,
        deadline: Deadline | None = None,
    ) -> Answer:
        """Ask once over UDP from a host, by default from the client."""
        asking = from_host or self._client
        until = deadline or Deadline.after(_QUERY_BUDGET, f"an answer for {name}")
        question = dns.message.make_query(name, rdtype)
        with asking.open_socket(socket.SOCK_DGRAM) as wire:
            wire.setblocking(False)
            try:
                response = dns.query.udp(
                    question,
                    str(self._gateway.ip),
                    timeout=max(0.001, until.remaining),
                    sock=wire,
                )
            except (dns.exception.DNSException, OSError):
                return Answer((), NO_ANSWER, None)
        return read_answer(response)

    def close(self) -> None:
        """End dnsmasq, if it runs."""
        self._lifetime.close()

    def _changed(self, *, restart: bool) -> None:
        if restart:
            self.restart()
        else:
            self._write()

    def _write(self) -> None:
        text = render(self._gateway.ip, self._records, self.log, self.options)
        self.config.write_text(text, encoding="utf-8")

    def _answers(self) -> bool | None:
        _ = self.pid
        brief = Deadline.after(_ASK_AGAIN, "dnsmasq's first answer")
        answer = self.query("ready.invalid", from_host=self._gateway, deadline=brief)
        return True if answer.rcode != NO_ANSWER else None

    def _last_lines(self) -> list[str]:
        written = [
            path.read_text(errors="replace").splitlines()[-5:]
            for path in (self.log, self.errors)
            if path.exists()
        ]
        return [line for lines in written for line in lines]


@contextmanager
def serve_names(
    sandbox: Sandbox,
    gateway: LanHost,
    client: LanHost,
    hosts: Mapping[str, IPv4Address],
) -> Iterator[Dns]:
    """Run dnsmasq on the gateway for the length of the `with`."""
    records = {name: (ip,) for name, ip in hosts.items()}
    server = Dns(sandbox, gateway, client, records)
    try:
        server.restart()
        yield server
    finally:
        server.close()


def render(
    gateway: IPv4Address,
    records: Mapping[str, Sequence[IPv4Address]],
    log: Path,
    options: Sequence[str] = (),
) -> str:
    """Write dnsmasq's configuration: our records, no upstream, everything logged."""
    lines = [
        "no-resolv",
        "no-hosts",
        "no-poll",
        # Nothing exists beyond the site: an unknown name is NXDOMAIN, an unknown type
        # of a known one an empty answer. Without this line both would be REFUSED.
        "local=/#/",
        f"listen-address={gateway}",
        "bind-interfaces",
        "pid-file=",
        "log-queries",
        f"log-facility={log}",
    ]
    lines += [f"host-record={name},{ip}" for name, ips in records.items() for ip in ips]
    return "\n".join([*lines, *options]) + "\n"


def read_answer(response: dns.message.Message) -> Answer:
    """Reduce a DNS message to what suites judge."""
    records = [(rrset.rdtype, one) for rrset in response.answer for one in rrset]
    four, six = (
        [record.to_text() for rdtype, record in records if rdtype == wanted]
        for wanted in (dns.rdatatype.A, dns.rdatatype.AAAA)
    )
    ttl = min((rrset.ttl for rrset in response.answer), default=None)
    return Answer(
        tuple(map(IPv4Address, four)),
        dns.rcode.to_text(response.rcode()),
        ttl,
        tuple(map(IPv6Address, six)),
    )


def _checked_name(name: str) -> str:
    if not name or any(mark in name for mark in ", \n\"'#"):
        raise InputError("unusable DNS name", [Mistake("site", "name", name, "a name")])
    return name
