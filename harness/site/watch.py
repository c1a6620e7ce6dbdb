"""Watchers: processes in the sandbox that sample while a test does something else."""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.deadline import Deadline, poll
from harness.errors import DeadlineExpired, HarnessError, SiteDied
from harness.process import PIPE
from harness.site import samples as sampling
from harness.site.sandbox import INSIDE, how

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from ipaddress import IPv4Address
    from pathlib import Path

    from harness.site.lan import Eye, LanHost
    from harness.site.samples import DnsSample, Outage, Sample
    from harness.site.sandbox import Resident, Sandbox

PERIOD = 0.05
"""Seconds between two questions of one kind."""

TIMEOUT = 1.0
"""Seconds after which a question counts as unanswered, and ARP's answers are in."""

GAP_LIMIT = 1.0
"""Seconds a watcher may be blind before nothing follows from what it saw."""

_START_BUDGET = 20.0
_DRAIN_BUDGET = TIMEOUT + 10.0


@dataclass
class Watcher:
    """A running or finished watcher and its file of JSON lines."""

    title: str
    path: Path
    resident: Resident
    stopped_at: float | None = None
    _tail: sampling.Tail = field(init=False)

    def __post_init__(self) -> None:
        self._tail = sampling.Tail(self.path)

    @property
    def records(self) -> list[dict[str, Any]]:
        """What it has written so far, its own beats included."""
        return self._tail.records()

    @property
    def longest_gap(self) -> float:
        """Seconds the watcher itself was blind for at most, up to now or its stop.

        A suite that finds it above the precision it needs judges `broken`, not `pass`.
        """
        until = time.monotonic() if self.stopped_at is None else self.stopped_at
        return sampling.longest_gap(self.records, until)

    def require_steady(self, limit: float = GAP_LIMIT) -> None:
        """Raise HarnessError when it was blind for longer than `limit` seconds."""
        gap = self.longest_gap
        if gap > limit:
            raise HarnessError(
                f"{self.title} was blind for {gap:.2f} s, more than {limit:.2f} s",
                hint="too much else runs on this computer, or the watcher died",
            )

    def last_words(self) -> list[str]:
        """Return what it complained about."""
        return self.path.with_suffix(".err").read_text().splitlines()[-20:]


class AddressWatch(Watcher):
    """What a client on the LAN sees of one address: ping, arp, tcp:PORT."""

    @property
    def samples(self) -> list[Sample]:
        """Everything settled so far; a question takes at most a second to settle."""
        kinds = {sampling.STARTED, sampling.STOPPED, sampling.BEAT}
        records = (r for r in self.records if r["kind"] not in kinds)
        return sorted(map(sampling.to_sample, records), key=lambda sample: sample.at)

    def of_kind(self, kind: str) -> list[Sample]:
        """Pick one kind. Raises HarnessError when none was taken."""
        return sampling.of_kind(self.samples, kind)

    def outages(self, kind: str) -> list[Outage]:
        """Find the breaks of one kind. Raises HarnessError without samples of it."""
        return sampling.outages(self.of_kind(kind))

    def longest_outage(self, kind: str) -> float:
        """Seconds of the longest break of one kind, as `outages`."""
        return sampling.longest_outage(self.samples, kind)

    def owners(self) -> list[tuple[float, frozenset[str]]]:
        """Return who answered for the address over time: (at, MACs) at each change."""
        return sampling.owners(self.of_kind("arp"))

    def announcements(self) -> list[Sample]:
        """List the gratuitous ARPs heard for the address, in order."""
        return [s for s in self.samples if s.kind == sampling.ANNOUNCE]

    def wait_for(self, kind: str, *, ok: bool, deadline: Deadline) -> Sample:
        """Await a question asked from now on that ends as wanted."""
        since = time.monotonic()
        unread = len(self.records)

        def found() -> Sample | None:
            # Each record is looked at once: reading all of them anew every time takes
            # half a processor from the guest after some minutes.
            nonlocal unread
            fresh = self.records[unread:]
            unread += len(fresh)
            settled = (r for r in fresh if r["kind"] == kind and r["at"] >= since)
            wanted = next((r for r in settled if r["ok"] == ok), None)
            return sampling.to_sample(wanted) if wanted else None

        return poll(found, deadline, seen=lambda: f"{self.samples[-1:]}")


class DnsWatch(Watcher):
    """The DNS answers that a client on the LAN gets about one name."""

    @property
    def samples(self) -> list[DnsSample]:
        """Everything settled so far, in the order of asking. HarnessError if none."""
        records = [r for r in self.records if r["kind"] == "dns"]
        if not records:
            raise HarnessError(f"{self.title} took no samples")
        return sorted(map(sampling.to_dns_sample, records), key=lambda s: s.at)

    def wait_for_samples(self, count: int, *, deadline: Deadline) -> None:
        """Await the outcome of `count` questions asked from now on."""
        since = time.monotonic()

        def settled() -> bool | None:
            records = (r for r in self.records if r["kind"] == "dns")
            fresh = [r for r in records if r["at"] >= since]
            return True if len(fresh) >= count else None

        poll(settled, deadline, seen=lambda: f"{self.records[-1:]}")

    def wrong(self, *expected: IPv4Address) -> list[DnsSample]:
        """List the samples that did not answer exactly these addresses."""
        return [s for s in self.samples if set(s.addresses) != set(expected)]

    def outages(self) -> list[Outage]:
        """Find the times without an answer that has an address."""
        return sampling.outages(self.samples)

    def longest_outage(self) -> float:
        """Seconds of the longest time without an address."""
        return sampling.longest(self.outages())


@contextmanager
def watch_address(
    sandbox: Sandbox,
    client: LanHost,
    eye: Eye,
    ip: IPv4Address,
    *,
    tcp: Sequence[int],
    path: Path,
) -> Iterator[AddressWatch]:
    """Sample an address from the client for the length of the `with`."""
    with eye.ear() as ear:
        told = {
            "address": str(ip),
            "source": str(client.ip),
            "ports": list(tcp),
            "period": PERIOD,
            "timeout": TIMEOUT,
            "arp_fd": ear.fileno(),
            "arp_mac": eye.mac,
            "arp_source": str(eye.ip),
        }
        program = ["-I", "-S", str(INSIDE / "watch_address.py"), json.dumps(told)]
        title = f"the watcher of {ip}"
        with _run(sandbox, client, program, path, pass_fds=[ear.fileno()]) as resident:
            watch = AddressWatch(title, path, resident)
            with _lifetime(watch):
                yield watch


@contextmanager
def watch_dns(
    sandbox: Sandbox, client: LanHost, server: IPv4Address, name: str, *, path: Path
) -> Iterator[DnsWatch]:
    """Sample what the name server says, from the client, for the `with`."""
    told = {
        "name": name,
        "server": str(server),
        "period": PERIOD,
        "timeout": TIMEOUT,
    }
    # Not isolated: dnspython may be on PYTHONPATH. Safe path: ours is not a package.
    program = ["-P", str(INSIDE / "watch_dns.py"), json.dumps(told)]
    with _run(sandbox, client, program, path) as resident:
        watch = DnsWatch(f"the watcher of {name}", path, resident)
        with _lifetime(watch):
            yield watch


@contextmanager
def _run(
    sandbox: Sandbox,
    client: LanHost,
    program: Sequence[str],
    path: Path,
    pass_fds: Sequence[int] = (),
) -> Iterator[Resident]:
    with ExitStack() as stack:
        out = stack.enter_context(path.open("wb"))
        err = stack.enter_context(path.with_suffix(".err").open("wb"))
        yield stack.enter_context(
            sandbox.spawn(
                [sys.executable, *program],
                host=client.host,
                stdin=PIPE,
                stdout=out,
                stderr=err,
                pass_fds=pass_fds,
            )
        )


@contextmanager
def _lifetime(watch: Watcher) -> Iterator[None]:
    outer = watch.resident.outer

    def started() -> bool | None:
        if outer.poll() is not None:
            raise _died(watch)
        return True if watch.records else None

    awaited = Deadline.after(_START_BUDGET, f"{watch.title} to start")
    poll(started, awaited, interval=0.005)
    try:
        yield
    except AssertionError as failure:
        # What was found by a watcher that was lost on the way is no failure.
        if outer.poll() is not None:
            raise _died(watch) from failure
        _finish(watch)
        raise
    except BaseException:
        _finish(watch)
        raise
    if not _finish(watch) or outer.returncode != 0:
        raise _died(watch)


def _finish(watch: Watcher) -> bool:
    """Close its input and wait for its open questions; return whether it ended."""
    outer = watch.resident.outer
    watch.stopped_at = time.monotonic()
    if outer.stdin is not None:
        outer.stdin.close()
    with suppress(DeadlineExpired):
        poll(outer.poll, Deadline.after(_DRAIN_BUDGET, watch.title), interval=0.005)
    return outer.poll() is not None


def _died(watch: Watcher) -> SiteDied:
    status = watch.resident.outer.returncode
    ended = "did not end" if status is None else f"was ended {how(status)}"
    return SiteDied(f"{watch.title} {ended}", evidence=watch.last_words())
