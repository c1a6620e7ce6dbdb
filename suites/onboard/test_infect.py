"""`onboard-infect`: a cloud image becomes a NixOS under somebody's eyes, not hands."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

import pytest

from harness import DeadlineExpired, NotExercised, poll
from suites.onboard.converting import (
    INFECT,
    Identity,
    Terminal,
    convert,
    judge_clean_up,
    judge_converted,
    judge_files,
)

if TYPE_CHECKING:
    from harness import Budgets, Machine, Recorder, Site

pytestmark = [
    pytest.mark.criterion("onboard-infect"),
    pytest.mark.stage("cloud"),
    pytest.mark.disruptive,
]

_SSH = "tcp:22"
_OUTPUT = "/run/infect.output"


@pytest.mark.scenario("conversion")
def test_conversion_needs_nobody(
    dev: Machine, site: Site, check: Recorder, budgets: Budgets
) -> None:
    """Over ssh, watched on the console; the network comes back by itself."""
    identity = Identity.of(dev)
    terminal = Terminal.of(dev, check, budgets, secrets.token_hex(8))
    terminal.judge_login("before the conversion")
    with site.watch_address(dev.vm.ip, tcp=(22,)) as watch:
        done = convert(dev, terminal)
        check.require(
            "the conversion succeeds",
            done.succeeded and "infect: done" in done.stdout,
            f"exit status {done.rc}: {done.output[-1500:]}",
        )
        judge_files(dev, check, site.network)
        began = time.monotonic()
        dev.reboot()
        try:
            awaited = dev.deadline(budgets.first_boot_ssh_s, "ssh on the LAN")
            watch.wait_for(_SSH, ok=True, deadline=awaited)
            back = True
        except DeadlineExpired:
            back = False
    check.check(
        "the network comes back by itself",
        back,
        f"{dev.vm.ip} did not answer {_SSH} after the first boot; the machine has "
        f"{dev.network.state().addresses}",
    )
    outage = watch.longest_outage(_SSH)
    check.check(
        "the network is back within the budget of a reboot",
        outage <= budgets.reboot_s,
        f"silent for {outage:.1f} s, budget {budgets.reboot_s} s",
    )
    origin = watch.samples[0].at
    check.series(
        f"address {dev.vm.ip}, conversion",
        [(s.at - origin, int(s.ok), s.kind) for s in watch.samples],
        kind="address",
        events={"reboot": began - origin},
    )
    terminal.judge_login("after the conversion")
    judge_converted(dev, check, identity)
    judge_clean_up(dev, check, budgets)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("moment", "times"),
    [
        pytest.param("copying path", 10, id="while-building"),
        pytest.param("updating GRUB", 1, id="while-the-loader-is-installed"),
    ],
)
@pytest.mark.scenario("power-cut")
def test_power_cut_during_the_conversion(
    dev: Machine, site: Site, check: Recorder, moment: str, times: int
) -> None:
    """The old system boots and takes it up again, or the new one is there already."""
    identity = Identity.of(dev)
    _start(dev)
    _cut_power_at(dev, moment, times)
    dev.start()
    if dev.system.state().booted is None:
        check.note("the old system booted, the conversion is run again")
        check.check(
            "the old system keeps its identity",
            Identity.of(dev) == identity,
            f"was {identity}, is {Identity.of(dev)}",
        )
        again = dev.execute(INFECT, timeout=900)
        check.require(
            "an interrupted conversion can be taken up again",
            again.succeeded and "infect: done" in again.stdout,
            f"exit status {again.rc}: {again.output[-1500:]}",
        )
        judge_files(dev, check, site.network)
        dev.reboot()
    dev.wait_for_open_port(22, timeout=60)
    judge_converted(dev, check, identity)
    verified = dev.store.verify()
    check.check(
        "the store is whole after the power cut", verified.clean, verified.problems
    )


def _start(dev: Machine) -> None:
    """Start the conversion where it does not depend on whoever started it."""
    dev.succeed(
        *("systemd-run", "--unit=infect", "--service-type=exec"),
        f"--property=StandardOutput=file:{_OUTPUT}",
        f"--property=StandardError=append:{_OUTPUT}",
        INFECT,
    )


def _cut_power_at(dev: Machine, moment: str, times: int) -> None:
    """Kill QEMU once the conversion has said so; the guest's caches are lost."""
    deadline = dev.deadline(300, f"the conversion to say {moment!r}")
    poll(
        lambda: True if dev.read_file(_OUTPUT).count(moment) >= times else None,
        deadline,
        interval=0.05,
        seen=lambda: dev.read_file(_OUTPUT)[-500:],
    )
    if "infect: done" in dev.read_file(_OUTPUT):
        raise NotExercised("the power was cut during the conversion")
    dev.crash()
