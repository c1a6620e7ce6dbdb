"""Boot throwaway VMs from a spec and prove that a migration keeps its promises.

This is the public interface: suites, and the faults of other projects, import from here
only. A name loads its module on first use (PEP 562), so `import harness` stays cheap.
A test checks that the three lists below agree.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.bystander import (
        Bystander,
        bystander_keeps_running,
        bystander_stays_reachable,
        bystander_undisturbed,
        observe_bystander,
        watch_bystander,
    )
    from harness.deadline import Deadline, poll, tick
    from harness.errors import DeadlineExpired, GuestFailure, MachineError, NotExercised
    from harness.evidence import (
        Check,
        Recorder,
        absent,
        at_least,
        at_most,
        contains,
        differs_from,
        lacks,
        one_of,
        only,
        present,
        starts_with,
    )
    from harness.facts import Quantity, describe
    from harness.fault import Fault, must_fail
    from harness.fleet import (
        Budgets,
        CloudInit,
        Endpoint,
        Fleet,
        Migration,
        NetworkSpec,
        Vm,
    )
    from harness.guest.boot import Bootloader, MenuEntry
    from harness.guest.heartbeat import Heartbeat
    from harness.guest.inodes import InodeSample, slope
    from harness.guest.lab import Echo, LabState
    from harness.guest.proc import Process
    from harness.guest.rebuild import Rebuild
    from harness.guest.secrets import Secret, SecretsState, StoreSearch
    from harness.guest.store import Collection, Mount, Reading, Verification
    from harness.guest.system import Generation, SystemState
    from harness.guest.transport import CommandResult
    from harness.liveness import (
        heartbeat_complete,
        heartbeat_uninterrupted,
        sessions_unchanged,
    )
    from harness.machine import Machine, log_in
    from harness.shell import CommandLine, Units, UnitShell
    from harness.site import (
        USER,
        AddressWatch,
        Answer,
        DnsSample,
        DnsWatch,
        EventStream,
        HttpAnswer,
        LanHost,
        Page,
        RunningIngress,
        Sample,
        Site,
        Trace,
        Visitor,
        longest_outage,
    )
    from harness.stage import (
        HEARTBEATS,
        MASTER_KEY,
        OLD,
        TALKER,
        address_changed,
    )
    from harness.testbed import MachineFactory

__all__ = [
    "HEARTBEATS",
    "MASTER_KEY",
    "OLD",
    "TALKER",
    "USER",
    "AddressWatch",
    "Answer",
    "Bootloader",
    "Budgets",
    "Bystander",
    "Check",
    "CloudInit",
    "Collection",
    "CommandLine",
    "CommandResult",
    "Deadline",
    "DeadlineExpired",
    "DnsSample",
    "DnsWatch",
    "Echo",
    "Endpoint",
    "EventStream",
    "Fault",
    "Fleet",
    "Generation",
    "GuestFailure",
    "Heartbeat",
    "HttpAnswer",
    "InodeSample",
    "LabState",
    "LanHost",
    "Machine",
    "MachineError",
    "MachineFactory",
    "MenuEntry",
    "Migration",
    "Mount",
    "NetworkSpec",
    "NotExercised",
    "Page",
    "Process",
    "Quantity",
    "Reading",
    "Rebuild",
    "Recorder",
    "RunningIngress",
    "Sample",
    "Secret",
    "SecretsState",
    "Site",
    "StoreSearch",
    "SystemState",
    "Trace",
    "UnitShell",
    "Units",
    "Verification",
    "Visitor",
    "Vm",
    "absent",
    "address_changed",
    "at_least",
    "at_most",
    "bystander_keeps_running",
    "bystander_stays_reachable",
    "bystander_undisturbed",
    "contains",
    "describe",
    "differs_from",
    "heartbeat_complete",
    "heartbeat_uninterrupted",
    "lacks",
    "log_in",
    "longest_outage",
    "must_fail",
    "observe_bystander",
    "one_of",
    "only",
    "poll",
    "present",
    "sessions_unchanged",
    "slope",
    "starts_with",
    "tick",
    "watch_bystander",
]

_MODULES = {
    "harness.bystander": (
        "Bystander bystander_keeps_running bystander_stays_reachable"
        " bystander_undisturbed observe_bystander watch_bystander"
    ),
    "harness.deadline": "Deadline poll tick",
    "harness.errors": "DeadlineExpired GuestFailure MachineError NotExercised",
    "harness.evidence": (
        "Check Recorder absent at_least at_most contains differs_from lacks one_of"
        " only present starts_with"
    ),
    "harness.facts": "Quantity describe",
    "harness.fault": "Fault must_fail",
    "harness.fleet": "Budgets CloudInit Endpoint Fleet Migration NetworkSpec Vm",
    "harness.guest.boot": "Bootloader MenuEntry",
    "harness.guest.heartbeat": "Heartbeat",
    "harness.guest.inodes": "InodeSample slope",
    "harness.guest.lab": "Echo LabState",
    "harness.guest.proc": "Process",
    "harness.guest.rebuild": "Rebuild",
    "harness.guest.secrets": "Secret SecretsState StoreSearch",
    "harness.guest.store": "Collection Mount Reading Verification",
    "harness.guest.system": "Generation SystemState",
    "harness.guest.transport": "CommandResult",
    "harness.liveness": (
        "heartbeat_complete heartbeat_uninterrupted sessions_unchanged"
    ),
    "harness.machine": "Machine log_in",
    "harness.shell": "CommandLine UnitShell Units",
    "harness.site": (
        "USER AddressWatch Answer DnsSample DnsWatch EventStream HttpAnswer LanHost"
        " Page RunningIngress Sample Site Trace Visitor longest_outage"
    ),
    "harness.stage": "HEARTBEATS MASTER_KEY OLD TALKER address_changed",
    "harness.testbed": "MachineFactory",
}
_MODULE_OF = {name: room for room, names in _MODULES.items() for name in names.split()}

if not TYPE_CHECKING:  # mypy would take it to mean that every name exists

    def __getattr__(name):
        """Import the module that defines a public name. Raises AttributeError."""
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
        return value
