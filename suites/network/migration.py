"""What the spec says about the address that moves."""

from harness import Fleet, Migration, NotExercised


def migration_of(fleet: Fleet) -> Migration:
    """Return the spec's migration. Raises NotExercised where it has none."""
    if fleet.migration is None:
        raise NotExercised("the spec to have a [migration]", seen="it has none")
    return fleet.migration


def name_of(fleet: Fleet, move: Migration) -> str:
    """Return the DNS name of the final address. Raises NotExercised without one."""
    hosts = fleet.network.hosts
    names = [name for name, ip in hosts.items() if ip == move.final]
    if not names:
        raise NotExercised(
            f"[network.hosts] to have a name for {move.final}", seen=hosts
        )
    return names[0]
