"""`onboard-infect`: a cloud image becomes a NixOS, watched on its console."""

import secrets
import time

import pytest

from harness import (
    AddressWatch,
    Budgets,
    DeadlineExpired,
    Machine,
    NotExercised,
    Recorder,
    Site,
    poll,
)
from suites.onboard.checks import conversion as checks
from suites.onboard.converting import (
    INFECT,
    Terminal,
    clean_up,
    convert,
    converted,
    identity,
    written,
)

pytestmark = [
    pytest.mark.criterion("onboard-infect"),
    pytest.mark.stage("cloud"),
    pytest.mark.disruptive,
]

_SSH = "tcp:22"
_OUTPUT = "/run/infect.output"


@pytest.mark.scenario("conversion")
def test_conversion_needs_no_help(
    dev: Machine, site: Site, check: Recorder, budgets: Budgets
) -> None:
    """Over ssh, watched on the console; the network comes back without help."""
    before = identity(dev)
    terminal = Terminal.of(dev, secrets.token_hex(8), budgets.console_answer_s)
    _log_in(terminal, check, "before the conversion")
    with site.watch_address(dev.vm.ip, tcp=(22,)) as watch:
        done, silences = convert(dev, terminal)
        check(checks.console_answers("during the conversion", silences))
        check.require(checks.succeeds("the conversion succeeds", done))
        _files(dev, site, check)
        began = time.monotonic()
        dev.reboot()
        answered = _answers(dev, watch, budgets.first_boot_ssh_s)
    addresses = dev.network.state().addresses
    outage = watch.longest_outage(_SSH)
    check(
        checks.network_returns(dev.vm.ip, addresses, outage, budgets, answered=answered)
    )
    origin = watch.samples[0].at
    check.series(
        f"address {dev.vm.ip}, conversion",
        [(s.at - origin, int(s.ok), s.kind) for s in watch.samples],
        kind="address",
        events={"reboot": began - origin},
        origin=origin,
    )
    _log_in(terminal, check, "after the conversion")
    check(checks.is_nixos(converted(dev), before))
    check(checks.frees(clean_up(dev), budgets))


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
    before = identity(dev)
    _start(dev)
    _cut_power_at(dev, moment, times)
    dev.start()
    if dev.system.state().booted is None:
        check.note("the old system booted, the conversion is run again")
        check(checks.keeps_identity(identity(dev), before))
        again = dev.execute(INFECT, timeout=900)
        resumed = "an interrupted conversion can be run again"
        check.require(checks.succeeds(resumed, again))
        _files(dev, site, check)
        dev.reboot()
    dev.wait_for_open_port(22, timeout=60)
    check(checks.is_nixos(converted(dev), before))
    check(checks.store_whole(dev.store.verify()))


def _log_in(terminal: Terminal, check: Recorder, during: str) -> None:
    """Check a login on the console, where it answers at all."""
    if check(checks.console_answers(during, [terminal.silence()])):
        login, boot_id = terminal.log_in(), terminal.dev.boot_id
        check(checks.logs_in(during, login, boot_id))


def _files(dev: Machine, site: Site, check: Recorder) -> None:
    """Check what was written against disk and network; stop at a wrong disk."""
    files = written(dev)
    check.require(checks.names_the_disk(files))
    check(checks.files_match(files, dev.vm, site.network.gateway))


def _answers(dev: Machine, watch: AddressWatch, seconds: float) -> bool:
    """Wait for ssh on the LAN; return whether it came."""
    try:
        deadline = dev.deadline(seconds, "ssh on the LAN")
        watch.wait_for(_SSH, ok=True, deadline=deadline)
    except DeadlineExpired:
        return False
    return True


def _start(dev: Machine) -> None:
    """Start the conversion in a unit, so that it does not end with this connection."""
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
        raise NotExercised(
            "the power to be cut during the conversion", seen="it was already done"
        )
    dev.crash()
