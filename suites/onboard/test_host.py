"""`onboard-host-config` and `forgejo-mcp-reach`: what the plan says of hosts/dev."""

import pytest

from harness import Fleet, Machine, Recorder, Site, describe
from suites.onboard.checks import host as checks

pytestmark = pytest.mark.stage("onboarded")


@pytest.mark.criterion("onboard-host-config")
@pytest.mark.scenario("lab-unit")
def test_lab_unit_invariants(dev: Machine, check: Recorder, fleet: Fleet) -> None:
    """The settings that sessions depend on, as systemd has loaded them."""
    check(checks.lab_unit(dev.lab.state(), fleet.lab.user))


@pytest.mark.criterion("onboard-host-config")
@pytest.mark.scenario("timers-and-users")
def test_timers_users_and_what_must_not_be_there(
    dev: Machine, check: Recorder, fleet: Fleet
) -> None:
    """GC and bento come by timer, bento never reboots, and there is no borg."""
    dev.succeed("systemctl", "start", "timers.target")
    check(checks.host_configuration(_observe(dev, fleet.lab.user), fleet.lab.user))


def _observe(dev: Machine, user: str) -> checks.Host:
    """Look at the units, the programs of bento, the lab user and the release."""
    units = dev.succeed("systemctl", "list-units", "--all", "--plain", "--no-legend")
    bento = dev.sh(
        'grep -h "" $(systemctl show -P ExecStart bento-upgrade.service'
        ' | grep -o "/nix/store/[^ ;]*" | sort -u)'
    )
    return checks.Host(
        units=sorted(line.split()[0] for line in units.splitlines() if line.strip()),
        failed=dev.system.failed_units(),
        bento=bento.stdout,
        account=dev.execute("getent", "passwd", user).stdout.strip(),
        version=dev.succeed("nixos-version").strip(),
        state_version=dev.system.option("system.stateVersion"),
    )


@pytest.mark.criterion("forgejo-mcp-reach")
@pytest.mark.parametrize(
    "stage",
    [
        pytest.param(
            "onboarded",
            marks=[
                pytest.mark.stage("onboarded"),
                pytest.mark.scenario("before-the-swap"),
            ],
        ),
        pytest.param(
            "swapped",
            marks=[
                pytest.mark.stage("swapped"),
                pytest.mark.scenario("after-the-swap"),
            ],
        ),
    ],
)
def test_services_are_reached_from_dev(
    dev: Machine, site: Site, check: Recorder, fleet: Fleet, stage: str
) -> None:
    """Each service of the spec answers dev, which comes from another address later."""
    check.note(f"asked from {describe(dev.network.addresses())}, {stage}")
    check.require(checks.services_named(fleet))
    for name, endpoint in fleet.network.services.items():
        asked = dev.execute(
            *("timeout", "20", "bash", "-c"),
            'exec 3<>"/dev/tcp/$0/$1" && printf "GET / HTTP/1.0\\r\\n\\r\\n" >&3 && '
            "cat <&3",
            *(str(endpoint.ip), str(endpoint.port)),
        )
        check(checks.answers(name, endpoint, asked))
    assert site.services
