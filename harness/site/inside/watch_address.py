"""Watch one address from the client: ping, TCP and ARP, every period, never waiting.

    watch_address.py JSON      with address, source, ports, period, timeout (s), arp_fd,
                               arp_mac, arp_source

Samples go to standard output as JSON lines; the end of standard input ends the watch.
Every question is sent on its beat whether or not earlier ones were answered, so that a
hung address does not stretch the period. `at` is when the question was sent.

ping and TCP leave through raw sockets of the client's namespace and so through the
kernel's own neighbour cache, as any client's packets. TCP asks half a connection: SYN
out, SYN-ACK in, and the kernel's RST since it knows of none. That is as much as
`connect()` learns, and no service is started: twenty full connections a second
would fork twenty sshds and trip its penalties for those who never log in.

ARP asks from a socket that was handed in and is on a port of its own. Each question
comes from a MAC of its own, so that every answer is matched with its question.
"""

import json
import os
import select
import socket
import struct
import sys
import time
from contextlib import suppress
from typing import Protocol

ECHO_REPLY, ECHO_REQUEST = 0, 8
SYN, RST, ACK = 0x02, 0x04, 0x10
FIRST_PORT, PORTS = 10000, 20000
"""Below the kernel's own range, so that no connection of the client is in the way."""

ARP_MACS = 64
LAST_WINDOW = 0.25
"""Seconds to gather ARP's answers at the end of the watch."""

FRAME_MAX = 256
ETHERNET_ARP = struct.Struct("!6s6sHHHBBH6s4s6s4s")


class SampleLog:
    """Where samples go, in the order in which they were settled."""

    def write(self, at: float, kind: str, **more: object) -> None:
        """Write one record."""
        sys.stdout.write(json.dumps({"at": round(at, 6), "kind": kind, **more}) + "\n")

    def sample(
        self, at: float, kind: str, *, ok: bool, detail: str, answered: float | None
    ) -> None:
        """Write the result of a question."""
        latency = None if answered is None else round(answered - at, 6)
        self.write(at, kind, ok=ok, detail=detail, latency=latency)


class Probe(Protocol):
    """One kind of question."""

    wire: socket.socket
    last_window: float

    def ask(self, beat: int, now: float) -> None:
        """Send the question of a beat."""

    def hear(self, packet: bytes, now: float) -> None:
        """Take in what arrived."""

    def expire(self, before: float) -> None:
        """Settle what was asked before a point in time and is still open."""

    def open(self) -> bool:
        """Whether a question is unsettled."""


class Questions:
    """Open questions of one kind, by what their answer will carry."""

    def __init__(self, kind: str, journal: SampleLog) -> None:
        self.kind = kind
        self.journal = journal
        self.asked: dict[int, float] = {}

    def settle(self, key: int, now: float, *, ok: bool, detail: str) -> None:
        """Record the answer to an open question; anything else is a stray."""
        at = self.asked.pop(key, None)
        if at is not None:
            self.journal.sample(at, self.kind, ok=ok, detail=detail, answered=now)

    def expire(self, before: float) -> None:
        """Record those without an answer."""
        for key in [key for key, at in self.asked.items() if at < before]:
            at = self.asked.pop(key)
            self.journal.sample(
                at, self.kind, ok=False, detail="no answer", answered=None
            )

    def send(self, wire: socket.socket, packet: bytes, target: str, at: float) -> None:
        """Send a packet; a refusal of our own kernel is an answer too."""
        try:
            wire.sendto(packet, (target, 0))
        except OSError as error:
            # The newest key is the one being sent.
            self.asked.popitem()
            detail = error.strerror or str(error)
            self.journal.sample(at, self.kind, ok=False, detail=detail, answered=None)


class Ping:
    """ICMP echo."""

    last_window = float("inf")

    def __init__(self, address: str, journal: SampleLog) -> None:
        self.address = address
        self.questions = Questions("ping", journal)
        self.identity = os.getpid() & 0xFFFF
        self.wire = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)

    def ask(self, beat: int, now: float) -> None:
        """Send an echo request."""
        key = beat & 0xFFFF
        head = struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, self.identity, key)
        packet = head[:2] + struct.pack("!H", checksum(head)) + head[4:]
        self.questions.asked[key] = now
        self.questions.send(self.wire, packet, self.address, now)

    def hear(self, packet: bytes, now: float) -> None:
        """Match an echo reply."""
        body = ip_payload(packet, self.address)
        if len(body) < 8:  # noqa: PLR2004 - the length of an ICMP header
            return
        kind, _, _, identity, key = struct.unpack("!BBHHH", body[:8])
        if (kind, identity) == (ECHO_REPLY, self.identity):
            self.questions.settle(key, now, ok=True, detail="")

    def expire(self, before: float) -> None:
        """Give up on old echoes."""
        self.questions.expire(before)

    def open(self) -> bool:
        """Whether an echo is out."""
        return bool(self.questions.asked)


class HalfConnect:
    """The first two of TCP's three steps."""

    last_window = float("inf")

    def __init__(
        self, address: str, source: str, port: int, journal: SampleLog
    ) -> None:
        self.address = address
        self.port = port
        self.questions = Questions(f"tcp:{port}", journal)
        self.ends = socket.inet_aton(source) + socket.inet_aton(address)
        self.high = (os.getpid() & 0xFFFF) << 16
        self.wire = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)

    def ask(self, beat: int, now: float) -> None:
        """Send a SYN whose sequence number says which beat it was."""
        source_port = FIRST_PORT + beat % PORTS
        number = self.high | (beat & 0xFFFF)
        parts = (source_port, self.port, number, 0, 5 << 4, SYN, 64240)
        head = struct.pack("!HHIIBBHHH", *parts, 0, 0)
        pseudo = self.ends + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(head))
        packet = struct.pack("!HHIIBBHHH", *parts, checksum(pseudo + head), 0)
        self.questions.asked[number] = now
        self.questions.send(self.wire, packet, self.address, now)

    def hear(self, packet: bytes, now: float) -> None:
        """Match a SYN-ACK or a refusal by the number it acknowledges."""
        body = ip_payload(packet, self.address)
        if len(body) < 20:  # noqa: PLR2004 - the length of a TCP header
            return
        from_port, _, _, acknowledged, _, flags = struct.unpack("!HHIIBB", body[:14])
        if from_port != self.port or not flags & ACK:
            return
        number = (acknowledged - 1) & 0xFFFFFFFF
        if flags & RST:
            self.questions.settle(number, now, ok=False, detail="refused")
        elif flags & SYN:
            self.questions.settle(number, now, ok=True, detail="")

    def expire(self, before: float) -> None:
        """Give up on old SYNs."""
        self.questions.expire(before)

    def open(self) -> bool:
        """Whether a SYN is out."""
        return bool(self.questions.asked)


class WhoHas:
    """ARP: everyone who answers, gathered until the question expires."""

    last_window = LAST_WINDOW

    def __init__(self, address: str, source: str, mac: str, journal: SampleLog) -> None:
        self.address = socket.inet_aton(address)
        self.source = socket.inet_aton(source)
        self.mac = bytes.fromhex(mac.replace(":", ""))
        self.journal = journal
        self.asked: dict[bytes, tuple[float, list[tuple[float, str]]]] = {}
        self.wire: socket.socket

    def ask(self, beat: int, now: float) -> None:
        """Broadcast a question from the MAC of this beat."""
        sender = self.mac[:5] + bytes([self.mac[5] ^ (beat % ARP_MACS + 1)])
        frame = ETHERNET_ARP.pack(
            b"\xff" * 6, sender, 0x0806, 1, 0x0800, 6, 4, 1,
            sender, self.source, bytes(6), self.address,
        )  # fmt: skip
        self.asked[sender] = (now, [])
        with suppress(OSError):
            self.wire.send(frame)

    def hear(self, packet: bytes, now: float) -> None:
        """Take in an answer, or an unrequested announcement."""
        if len(packet) < ETHERNET_ARP.size:
            return
        fields = ETHERNET_ARP.unpack(packet[: ETHERNET_ARP.size])
        sender, sender_ip, target, target_ip = fields[8:]
        if sender_ip != self.address:
            return
        mac = ":".join(f"{octet:02x}" for octet in sender)
        if target in self.asked:
            self.asked[target][1].append((now, mac))
        elif target_ip == sender_ip:
            self.journal.write(now, "announce", ok=True, detail=mac, latency=None)

    def expire(self, before: float) -> None:
        """Settle: the window of a question has closed."""
        for key in [key for key, (at, _) in self.asked.items() if at < before]:
            at, answers = self.asked.pop(key)
            macs = list(dict.fromkeys(mac for _, mac in answers))
            first = answers[0][0] if answers else None
            detail = " ".join(macs)
            self.journal.sample(at, "arp", ok=bool(macs), detail=detail, answered=first)

    def open(self) -> bool:
        """Whether a window is open."""
        return bool(self.asked)


class AddressSampler:
    """The beat, and what happens between two."""

    def __init__(
        self, probes: list[Probe], journal: SampleLog, period: float, timeout: float
    ) -> None:
        self.probes = {probe.wire.fileno(): probe for probe in probes}
        self.journal = journal
        self.period = period
        self.timeout = timeout
        self.poller = select.poll()
        for number, probe in self.probes.items():
            probe.wire.setblocking(False)
            self.poller.register(number, select.POLLIN)
        self.poller.register(0, select.POLLHUP | select.POLLIN)

    def run(self) -> None:
        """Ask until standard input ends, then wait for open questions."""
        start = time.monotonic()
        self.journal.write(start, "started")
        beat = 0
        stop: float | None = None
        while stop is None or any(probe.open() for probe in self.probes.values()):
            now = time.monotonic()
            if stop is None and now >= start + beat * self.period:
                self.ask(beat, now)
                # Beats that were slept through stay away: the gap is to be seen.
                beat = int((now - start) / self.period) + 1
            for probe in self.probes.values():
                last = self.timeout if stop is None else probe.last_window
                probe.expire(now - min(self.timeout, last))
            sys.stdout.flush()
            wait = start + beat * self.period - time.monotonic()
            if self.listen(max(0.0, wait if stop is None else 0.01)):
                stop = time.monotonic()
                self.poller.unregister(0)
        self.journal.write(stop, "stopped")
        sys.stdout.flush()

    def ask(self, beat: int, now: float) -> None:
        """Send every question of a beat."""
        self.journal.write(now, "beat")
        for probe in self.probes.values():
            probe.ask(beat, now)

    def listen(self, seconds: float) -> bool:
        """Take in answers for a while; say whether standard input has ended."""
        ended = False
        for number, _ in self.poller.poll(seconds * 1000):
            if number == 0:
                ended = True
                continue
            probe = self.probes[number]
            with suppress(BlockingIOError):
                while True:
                    packet = probe.wire.recv(FRAME_MAX)
                    probe.hear(packet, time.monotonic())
        return ended


def ip_payload(packet: bytes, source: str) -> bytes:
    """Return what an IPv4 packet from `source` carries, nothing for another's."""
    if len(packet) < 20 or packet[12:16] != socket.inet_aton(source):  # noqa: PLR2004
        return b""
    return packet[(packet[0] & 0x0F) * 4 :]


def checksum(data: bytes) -> int:
    """Sum as the internet protocols do (RFC 1071)."""
    words = struct.unpack(f"!{len(data) // 2}H", data)
    total: int = sum(words)
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def main() -> None:
    """Watch with the settings of the only argument."""
    told = json.loads(sys.argv[1])
    with suppress(OSError):
        # Two cores shared with an emulator: a late question would look like an outage
        # of our own. Refused to an ordinary user, who then sees it in the gaps.
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    journal = SampleLog()
    who_has = WhoHas(told["address"], told["arp_source"], told["arp_mac"], journal)
    who_has.wire = socket.socket(fileno=told["arp_fd"])
    probes: list[Probe] = [Ping(told["address"], journal), who_has]
    probes += [
        HalfConnect(told["address"], told["source"], port, journal)
        for port in told["ports"]
    ]
    AddressSampler(probes, journal, told["period"], told["timeout"]).run()


if __name__ == "__main__":
    main()
