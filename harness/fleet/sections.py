"""Which parts of a spec are absent that a criterion cannot be judged without."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from harness.fleet.models import Fleet

_CONSUMERS = 2


def _names_final(fleet: Fleet) -> bool:
    move = fleet.migration
    return move is None or move.final in fleet.network.hosts.values()


_PARTS: dict[str, tuple[Callable[[Fleet], bool], str]] = {
    "migration": (lambda fleet: fleet.migration is not None, "no [migration]"),
    "ingress": (lambda fleet: fleet.ingress is not None, "no [ingress]"),
    "network.hosts": (_names_final, "no name for the final address in [network.hosts]"),
    "network.services": (
        lambda fleet: bool(fleet.network.services),
        "no [network.services]",
    ),
    "vms": (lambda fleet: len(fleet.vms) >= _CONSUMERS, "only one VM"),
}


PARTS: tuple[str, ...] = tuple(_PARTS)


def lacking(fleet: Fleet, parts: Iterable[str]) -> str:
    """Say in one clause which of the parts a spec lacks; empty where it has them."""
    said = [words for part in parts for has, words in [_PARTS[part]] if not has(fleet)]
    return f"the spec has {' and '.join(dict.fromkeys(said))}" if said else ""
