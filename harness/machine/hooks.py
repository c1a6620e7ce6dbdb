"""What may be altered about a machine, and who is called after an event on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from harness.qemu import MachinePlan
    from harness.shell import Shell
    from harness.site import Site


Subject_contra = TypeVar("Subject_contra", contravariant=True)


class Hooks(Protocol[Subject_contra]):
    """The hooks of one machine. A fault has all (`harness.fault.Fault`)."""

    def alter_command_line(self, plan: MachinePlan) -> MachinePlan:
        """Change QEMU's command line, at every start."""

    def alter_shell(self, shell: Shell, site: Site) -> Shell:
        """Change what is done around the machine, before its first start."""

    def after_rebuild(self, machine: Subject_contra) -> None:
        """Act after each `nixos-rebuild` that was waited for."""

    def after_collection(self, machine: Subject_contra) -> None:
        """Act after each garbage collection that was waited for."""


class NoHooks:
    """A machine as it is."""

    def alter_command_line(self, plan: MachinePlan) -> MachinePlan:
        """Leave it as it is."""
        return plan

    def alter_shell(self, shell: Shell, site: Site) -> Shell:
        """Leave it as it is."""
        _ = site
        return shell

    def after_rebuild(self, machine: object) -> None:
        """Do nothing."""

    def after_collection(self, machine: object) -> None:
        """Do nothing."""


NO_HOOKS = NoHooks()
