"""`harness rehearse swap`: the swap on a throwaway VM, by hand or by a script.

Not collected with the suites: `harness rehearse` names this file. The test has the
probes, the preparation and the checks of the swap that `test_swap.py` judges; what it
leaves out is the exit status of a switch that another terminal ran.
"""

import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness import (
    OLD,
    Budgets,
    Check,
    Deadline,
    Fleet,
    MachineFactory,
    Recorder,
)
from suites.network.swap import SWITCH, Swapping, at_once, carry_out

pytestmark = [
    pytest.mark.criterion("swap-keeps-address"),
    pytest.mark.stage("onboarded"),
    pytest.mark.disruptive,
]
_RECENT = 200  # records of a watcher, at least one of each kind
_PAGE_S = 0.8
_LINE_S = 1.0


@pytest.mark.scenario("swap-by-hand")
@pytest.mark.timeout(12 * 3600)
def test_swap_by_hand(
    machine_factory: MachineFactory, check: Recorder, budgets: Budgets, fleet: Fleet
) -> None:
    """The user shuts the old VM down and switches dev, in other terminals."""
    carry_out(machine_factory, check, budgets, fleet, _by_hand)


@pytest.mark.scenario("swap-by-script")
def test_swap_by_script(
    machine_factory: MachineFactory, check: Recorder, budgets: Budgets, fleet: Fleet
) -> None:
    """The two steps are done one after the other, as the suite does them."""
    carry_out(machine_factory, check, budgets, fleet, _by_script)


def _by_hand(swapping: Swapping) -> Iterator[Check]:
    """Show the probes until Enter; what was done is judged by what they saw."""
    dev, final = swapping.dev, swapping.swap.move.final
    for machine in (swapping.old, dev):
        machine.agent.close()  # it serves one client: the user's terminals
    _say(
        f"""
{OLD} has {final}. {dev.name} has a generation with {final} built, and not active.
In other terminals:

  1. harness sh {OLD} poweroff
  2. harness console {dev.name}    and there: {" ".join(SWITCH)}
     (a shell over ssh would lose its connection with the address)

harness client and harness sh work meanwhile. Press Enter here when it is done:
the probes are then judged as the suite judges them.
"""
    )
    _show(swapping, lambda: bool(select.select([sys.stdin], [], [], _LINE_S)[0]))
    sys.stdin.readline()
    yield from ()


def _by_script(swapping: Swapping) -> Iterator[Check]:
    """Show the probes while the suite's own steps are taken."""
    results: list[list[Check] | BaseException] = []

    def act() -> None:
        try:
            results.append(list(at_once(swapping)))
        except BaseException as error:  # noqa: BLE001 - raised below, in the test
            results.append(error)

    steps = threading.Thread(target=act, name="swap")
    steps.start()

    def over() -> bool:
        steps.join(_LINE_S)
        return not steps.is_alive()

    _show(swapping, over)
    (result,) = results
    if isinstance(result, BaseException):
        raise result
    yield from result


def _show(swapping: Swapping, over: Callable[[], bool]) -> None:
    """Print a line about the probes each second, until it is `over`."""
    began = time.monotonic()
    owner = ""
    while not over():
        macs = latest(swapping.swap.address.records, "arp").get("detail", "")
        if macs != owner:
            swapping.moments.setdefault(
                f"owner {_named(macs, swapping)}", time.monotonic()
            )
            owner = macs
        _say(line(time.monotonic() - began, swapping, macs))


def line(seconds: float, swapping: Swapping, macs: str) -> str:
    """Say who has the address, what answers there, and where its name leads."""
    swap = swapping.swap
    records = swap.address.records
    ports = [
        f"{service} {'answers' if latest(records, kind).get('ok') else 'SILENT'}"
        for service, kind in swap.probes.items()
    ]
    deadline = Deadline.after(_PAGE_S, "lab's page")
    page = swap.site.client.http(
        swap.move.final, swap.fleet.lab.port, deadline=deadline
    )
    names = latest(swap.dns.records, "dns").get("addresses", ())
    minutes, rest = divmod(int(seconds), 60)
    return (
        f"{minutes}:{rest:02d}  {swap.move.final}: {_named(macs, swapping)}; "
        f"{', '.join(ports)}; page {page.status or 'none'}; "
        f"{swap.name} is {', '.join(names) or 'UNKNOWN'}"
    )


def _named(macs: str, swapping: Swapping) -> str:
    """Name the machines behind MACs, as arp probes write them."""
    known = {m.vm.mac: m.name for m in (swapping.old, swapping.dev)}
    return " and ".join(known.get(mac, mac) for mac in macs.split()) or "NO MACHINE"


def latest(records: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """Return the last settled record of a kind; empty where there is none."""
    recent = reversed(records[-_RECENT:])
    return next((record for record in recent if record["kind"] == kind), {})


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
