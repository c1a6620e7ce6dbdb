"""What a fault is: a way the world goes wrong, and the checks that must say so."""

from __future__ import annotations

import inspect
from contextlib import nullcontext
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from harness.fleet import Fleet
    from harness.machine import Machine
    from harness.qemu import MachinePlan
    from harness.shell import Shell
    from harness.site import Site
    from harness.stage import RunInputs

NOTHING: Mapping[str, frozenset[str]] = MappingProxyType({})


def must_fail(criterion: str, *checks: str) -> Mapping[str, frozenset[str]]:
    """Expect a criterion to fail, in one at least of the checks named."""
    return MappingProxyType({criterion: frozenset(checks)})


class Fault:
    """A known-bad variant of the system, or (`benign`) a harmless oddity.

    Subclass it with a docstring whose first paragraph says what goes wrong, name the
    checks that must fail, and override the hooks that are needed; each does nothing by
    default. All but `alter_spec` and `alter_network` see only the machines named in
    `machines`.
    """

    name: ClassVar[str] = ""
    source: ClassVar[str] = ""
    """Where this really happened, such as nixpkgs#189966."""
    expects: ClassVar[Mapping[str, frozenset[str]]] = NOTHING
    """Criterion → names of checks; one of them at least must be among the failed."""
    explained: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Criteria that may fail besides the expected ones, each with the reason."""
    criteria: ClassVar[tuple[str, ...]] = ()
    """Criteria whose tests run under it; empty for those of `expects`."""
    scenario: ClassVar[str | tuple[str, ...]] = ()
    """Of those tests only the ones of these scenarios; empty for all of them."""
    machines: ClassVar[frozenset[str]] = frozenset({"dev"})
    after: ClassVar[str] = "onboarded"
    """The stage whose machine `inject_once` gets; later ones are built on it."""
    microvm: ClassVar[bool] = False
    """Whether those machines are microvms, which boot for each test on a host's kernel
    and store (`Machine.shell.host_store`)."""
    benign: ClassVar[bool] = False
    """Harmless: nothing at all may fail."""
    fast: ClassVar[bool] = False
    """Part of the subset that every acceptance run makes."""

    def alter_spec(self, fleet: Fleet) -> Fleet:
        """Change the spec that the whole run works from."""
        return fleet

    def alter_command_line(self, plan: MachinePlan) -> MachinePlan:
        """Change QEMU's command line, at every start of a machine under test.

        A saved state only continues in a machine of the same shape: leave plans with
        `incoming` alone, or add what the state does not mention.
        """
        return plan

    def alter_shell(self, shell: Shell, site: Site) -> Shell:
        """Change what is done around a machine: wrap its shell in an `AlteredShell`."""
        _ = site
        return shell

    def inject_once(self, machine: Machine, inputs: RunInputs) -> None:
        """Change the machine once, after stage `after`; the result is saved again.

        Overriding it makes a stage of its own, whose digest has this class's source.
        """

    def inject(self, machine: Machine) -> None:
        """Change a machine each time that a test gets it."""

    def after_rebuild(self, machine: Machine) -> None:
        """Act after each `nixos-rebuild` that was waited for."""

    def after_collection(self, machine: Machine) -> None:
        """Act after each garbage collection that was waited for."""

    def alter_network(self, site: Site) -> AbstractContextManager[object]:
        """Change the LAN for the length of a test."""
        _ = site
        return nullcontext()

    @property
    def injects_once(self) -> bool:
        """Whether it has a stage of its own."""
        return type(self).inject_once is not Fault.inject_once

    @classmethod
    def story(cls) -> str:
        """Say what goes wrong: the first paragraph of the class's own docstring."""
        text = inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0]
        return " ".join(text.split()).removesuffix(".")

    @property
    def digest(self) -> str:
        """SHA-256 of the name and of every file that its classes are written in."""
        digest = sha256(self.name.encode())
        for kind in type(self).__mro__[:-1]:
            digest.update(Path(inspect.getfile(kind)).read_bytes())
        return digest.hexdigest()

    @property
    def selection(self) -> tuple[str, ...]:
        """Give the options by which pytest selects the tests that run under it."""
        given = self.scenario
        scenarios = (given,) if isinstance(given, str) else given
        pairs = [("--criterion", each) for each in self.criteria or self.expects]
        pairs += [("--scenario", each) for each in scenarios]
        return tuple(word for pair in pairs for word in pair)

    def affects(self, machine: str) -> bool:
        """Whether it is about the machine of this name."""
        return machine in self.machines

    def __str__(self) -> str:
        return self.name
