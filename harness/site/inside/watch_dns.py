"""Watch what a name server says about a name, every period, never waiting.

    watch_dns.py JSON          with name, server, period, timeout (s)

Samples go to standard output as JSON lines; the end of standard input ends the watch.
Every question goes out once, from a socket of its own, so that each answer and each
refusal belongs to its question. `at` is when it was sent.
"""

import json
import os
import select
import socket
import sys
import time
from contextlib import suppress

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype

PORT = 53
MESSAGE_MAX = 4096


class Question:
    """One query on its way."""

    def __init__(self, name: str, server: str, now: float) -> None:
        self.at = now
        self.message = dns.message.make_query(name, dns.rdatatype.A)
        self.wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.wire.setblocking(False)
        self.wire.connect((server, PORT))

    def send(self) -> None:
        """Send it; a refusal comes back as an error when reading."""
        with suppress(OSError):
            self.wire.send(self.message.to_wire())

    def read(self) -> dict[str, object] | None:
        """Return its result, None while it is open."""
        try:
            answer = dns.message.from_wire(self.wire.recv(MESSAGE_MAX))
        except BlockingIOError:
            return None
        except (OSError, dns.exception.DNSException) as error:
            return self.outcome(type(error).__name__)
        if not self.message.is_response(answer):
            return None
        return self.judge(answer)

    def judge(self, answer: dns.message.Message) -> dict[str, object]:
        """Reduce an answer to a sample."""
        addresses = [
            record.to_text()
            for rrset in answer.answer
            if rrset.rdtype == dns.rdatatype.A
            for record in rrset
        ]
        ttl = min((rrset.ttl for rrset in answer.answer), default=None)
        rcode = dns.rcode.to_text(answer.rcode())
        return {
            **self.outcome(rcode),
            "ok": rcode == "NOERROR" and bool(addresses),
            "addresses": addresses,
            "ttl": ttl,
            "latency": round(time.monotonic() - self.at, 6),
        }

    def outcome(self, rcode: str) -> dict[str, object]:
        """Build the sample of a question without a usable answer."""
        return {
            "at": round(self.at, 6),
            "kind": "dns",
            "ok": False,
            "addresses": [],
            "rcode": rcode,
            "ttl": None,
            "latency": None,
        }


class DnsSampler:
    """The beat, and what happens between two."""

    def __init__(self, name: str, server: str, period: float, timeout: float) -> None:
        self.name = name
        self.server = server
        self.period = period
        self.timeout = timeout
        self.open: dict[int, Question] = {}
        self.poller = select.poll()
        self.poller.register(0, select.POLLHUP | select.POLLIN)

    def run(self) -> None:
        """Ask until standard input ends, then wait for open questions."""
        start = time.monotonic()
        write({"at": start, "kind": "started"})
        beat = 0
        stop: float | None = None
        while stop is None or self.open:
            now = time.monotonic()
            if stop is None and now >= start + beat * self.period:
                self.ask(now)
                # Beats that were slept through stay away: the gap is to be seen.
                beat = int((now - start) / self.period) + 1
            self.expire(now - self.timeout)
            sys.stdout.flush()
            wait = start + beat * self.period - time.monotonic()
            if self.listen(max(0.0, wait if stop is None else 0.01)):
                stop = time.monotonic()
                self.poller.unregister(0)
        write({"at": stop, "kind": "stopped"})
        sys.stdout.flush()

    def ask(self, now: float) -> None:
        """Send one query."""
        write({"at": now, "kind": "beat"})
        try:
            question = Question(self.name, self.server, now)
        except OSError as error:
            sys.exit(f"no socket for the name server: {error}")
        self.open[question.wire.fileno()] = question
        self.poller.register(question.wire, select.POLLIN)
        question.send()

    def listen(self, seconds: float) -> bool:
        """Take in answers for a while; say whether standard input has ended."""
        ended = False
        for number, _ in self.poller.poll(seconds * 1000):
            if number == 0:
                ended = True
                continue
            outcome = self.open[number].read()
            if outcome is not None:
                self.close(number, outcome)
        return ended

    def expire(self, before: float) -> None:
        """Settle what was asked before a point in time and has no answer."""
        late = [number for number, q in self.open.items() if q.at < before]
        for number in late:
            self.close(number, self.open[number].outcome("NO-ANSWER"))

    def close(self, number: int, outcome: dict[str, object]) -> None:
        """Write a sample and forget its question."""
        question = self.open.pop(number)
        self.poller.unregister(number)
        question.wire.close()
        write(outcome)


def write(record: dict[str, object]) -> None:
    """Write one record."""
    sys.stdout.write(json.dumps(record) + "\n")


def main() -> None:
    """Watch with the settings of the only argument."""
    told = json.loads(sys.argv[1])
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    DnsSampler(told["name"], told["server"], told["period"], told["timeout"]).run()


if __name__ == "__main__":
    main()
