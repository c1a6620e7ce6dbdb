"""What decides `two-consumers`: what two machines of one module must not share."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from harness import Check, Vm, absent

Identity = Mapping[str, AbstractSet[object]]


def share_nothing(
    one: str, own: Identity, other: str, theirs: Identity
) -> Iterator[Check]:
    """Check that two machines, by name, have nothing of an identity in common.

    An identity has the values by what they are, in the singular.
    """
    for what, values in own.items():
        common = sorted(map(str, values & theirs[what]))
        yield Check(
            f"the machines share no {what}",
            common if values else f"{one} has none",
            absent(),
            of="in common",
            during=f"{one} and {other}",
            values={
                one: sorted(map(str, values)),
                other: sorted(map(str, theirs[what])),
            },
        )


def answers_alone(owners: Collection[str], vm: Vm) -> Check:
    """Check that one machine answers for an address."""
    return Check(
        "each machine alone answers for its address",
        owners,
        [vm.mac],
        of=f"MACs that answer for {vm.ip}",
        during=vm.name,
    )


def taps_on_bridge(
    during: str, taps: Sequence[str], ports: Collection[str], expected: Sequence[str]
) -> Check:
    """Check that the host has one tap for each machine, all on the bridge."""
    names = sorted(expected)
    return Check(
        "each machine has its tap on the bridge",
        {"taps": taps, "on the bridge": [name for name in taps if name in ports]},
        {"taps": names, "on the bridge": names},
        during=during,
    )
