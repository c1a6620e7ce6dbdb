"""What decides that a removed VM left nothing on its host."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from harness import Check, Sample, absent, lacks, present


@dataclass(frozen=True, slots=True)
class OldVm:
    """By what the host could still know the removed VM."""

    name: str
    mac: str
    tap: str

    def named_by(self, line: str) -> bool:
        """Whether a line of dnsmasq's configuration is about it.

        By MAC or name: its address is dev's by now.
        """
        return (
            self.mac in line.lower()
            or f"{self.name}." in line
            or f",{self.name}," in line
        )


@dataclass(frozen=True, slots=True)
class Remains:
    """What the host shows after the removal.

    `processes` are those that ran within the time of the watch, `holders` those that
    have one of its files open, `interfaces` all taps and ports of the bridge, `dns` the
    lines of dnsmasq's configuration.
    """

    processes: Sequence[str]
    holders: Sequence[str]
    files: Sequence[str]
    interfaces: Collection[str]
    dns: Sequence[str]


def gone(old: OldVm, remains: Remains, during: str) -> Iterator[Check]:
    """Check that the host has nothing of the old VM."""
    yield Check(
        "no process of the old VM is left",
        remains.processes,
        absent(),
        of="processes",
        during=during,
    )
    # The blocks of a deleted file are given back when its last holder ends.
    yield Check(
        "no process holds the old VM's files open",
        remains.holders,
        absent(),
        of="processes",
        during=during,
    )
    yield Check(
        "no file of the old VM is left",
        remains.files,
        absent(),
        of="files",
        during=during,
    )
    yield Check(
        "no tap of the old VM is left",
        set(remains.interfaces),
        lacks(old.tap),
        of="taps and ports of the bridge",
        during=during,
    )
    yield Check(
        "dnsmasq's configuration does not mention the old VM",
        [line for line in remains.dns if old.named_by(line)],
        absent(),
        of="lines about it",
        during=during,
    )


def remembered(host: str, mac: str | None, heir: str, ip: IPv4Address) -> Check:
    """Check that a LAN host's neighbour cache has dev's MAC, `heir`."""
    return Check(
        "neighbour caches have dev's MAC for the final address",
        mac,
        heir,
        of=f"entry for {ip}",
        host=host,
    )


def weight_moved(weight: int, expected: int | None) -> Iterator[Check]:
    """Check that dev's unit has the CPU weight that was the old VM's."""
    yield Check("the spec has a CPU weight for dev", expected, present())
    yield Check(
        "the CPU weight is set on dev's unit",
        weight,
        expected,
        of="weight of QEMU's control group",
    )


def owned_throughout(samples: Sequence[Sample], mac: str, ip: IPv4Address) -> Check:
    """Check that the final address had one owner over the whole watch."""
    owners = {owner for s in samples if s.kind == "arp" for owner in s.macs}
    return Check(
        "only dev answers for the final address",
        owners,
        [mac],
        of=f"MACs that answer for {ip}",
        during="while the old VM is retired",
    )
