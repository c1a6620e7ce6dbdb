"""Which two VMs of the spec are the module's consumers."""

from harness import Fleet, NotExercised, describe


def consumers(fleet: Fleet) -> tuple[str, str]:
    """Name two VMs of the spec, the one to migrate first. Raises NotExercised."""
    moves = fleet.migration.vm if fleet.migration else ""
    names = sorted(fleet.vms, key=lambda name: name != moves)
    if len(names) < 2:
        raise NotExercised("a spec with two VMs", seen=f"it has {describe(names)}")
    return names[0], names[1]
