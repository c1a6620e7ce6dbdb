"""Which two VMs of the spec are the module's consumers."""

from harness import Fleet, NotExercised, describe


def first_of(fleet: Fleet) -> str:
    """Name the VM to migrate, else any."""
    return _names(fleet)[0]


def consumers(fleet: Fleet) -> tuple[str, str]:
    """Name two VMs of the spec, the one to migrate first. Raises NotExercised."""
    names = _names(fleet)
    if len(names) < 2:
        raise NotExercised("a spec with two VMs", seen=f"it has {describe(names)}")
    return names[0], names[1]


def _names(fleet: Fleet) -> list[str]:
    moves = fleet.migration.vm if fleet.migration else ""
    return sorted(fleet.vms, key=lambda name: name != moves)
