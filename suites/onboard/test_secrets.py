"""`onboard-secrets`: decrypted for whom they are meant, and never in the store."""

import pytest

from harness import (
    MASTER_KEY,
    Fleet,
    Machine,
    NotExercised,
    Rebuild,
    Recorder,
    Secret,
    StoreSearch,
    describe,
)
from suites.onboard.checks import secrets as checks
from suites.onboard.sealing import Sealed, Vault

pytestmark = [
    pytest.mark.criterion("onboard-secrets"),
    pytest.mark.stage("onboarded"),
    pytest.mark.disruptive,
]


@pytest.mark.scenario("owners")
def test_secrets_are_for_their_owners_alone(
    dev: Machine, check: Recorder, fleet: Fleet
) -> None:
    """A new secret, its rotation, a rollback, and one that this host cannot read."""
    vault = Vault(dev, fleet.lab.user)
    master = _master_key(dev, check, fleet)

    one = vault.seal()
    first = _judge(check, vault, "after a switch", vault.switch("first", one), one)
    check(checks.store_has_no_plain_text(_search_store(dev, one)))

    two = vault.seal()
    second = _judge(check, vault, "after a rotation", vault.switch("second", two), two)
    check(checks.rotates(first, second))

    _judge(check, vault, "after a rollback", vault.roll_back(), one)

    _judge_unreadable(check, vault, stays=one)
    # The generation before by number, which is that of the second value.
    event = "after the rollback of an unreadable secret"
    _judge(check, vault, event, vault.roll_back(), two)

    check(checks.master_key_stays("after the switches", master, dev.secrets.state()))
    _judge_lab_without_key(dev, check, fleet)


@pytest.mark.thorough
@pytest.mark.scenario("reboot")
def test_secrets_survive_a_reboot(dev: Machine, check: Recorder, fleet: Fleet) -> None:
    """Stage 2 decrypts them before anything starts that needs them."""
    master = _master_key(dev, check, fleet)
    dev.reboot()
    state = dev.secrets.state()
    check.require(checks.master_key_stays("after a reboot", master, state))
    check(checks.in_memory("after a reboot", state))
    dev.wait_for_unit(fleet.lab.unit)
    dev.wait_for_open_port(fleet.lab.port)


def _judge(
    check: Recorder, vault: Vault, during: str, rebuilt: Rebuild, sealed: Sealed
) -> checks.Deployed:
    """Check that a switch deployed a sealed value; return what was seen."""
    deployed = vault.observe(rebuilt)
    check(checks.switches(during, rebuilt))
    check.require(checks.decrypts(during, deployed.state))
    digest = vault.dev.secrets.digest(sealed.value)
    check(checks.protects(during, deployed, digest, vault.owner))
    return deployed


def _search_store(dev: Machine, sealed: Sealed) -> StoreSearch:
    """Search all of the store, and prove that the search would have found it."""
    search = dev.secrets.search_store(sealed.value, sealed.line)
    if not search.sealed:
        raise NotExercised(
            "the search of the store to find the encrypted secret",
            seen="it found none of its lines",
        )
    return search


def _judge_unreadable(check: Recorder, vault: Vault, *, stays: Sealed) -> None:
    """Seal for another machine: the switch fails, and what was there stays."""
    dev = vault.dev
    before = dev.secrets.state()
    stranger = dev.succeed("age-keygen").partition("# public key: ")[2].split()[0]
    failed = vault.switch("third", vault.seal(stranger))
    if "activating the configuration" not in failed.output:
        raise NotExercised(
            "a switch to come to activation",
            seen=f"exit status {failed.rc}: {describe(failed.output)}",
        )
    after, digest = dev.secrets.state(), dev.secrets.digest(stays.value)
    check(checks.refuses_unreadable(failed, before, after, digest))


def _judge_lab_without_key(dev: Machine, check: Recorder, fleet: Fleet) -> None:
    """Restart lab while its master key is moved out of its reach."""
    path = f"/run/secrets/{MASTER_KEY}"
    aside = f"{dev.succeed('readlink', '-f', path).strip()}.aside"
    show = f"systemctl show -p ActiveState,SubState,Result {fleet.lab.unit}"
    unit = dev.sh(
        f"mv $(readlink -f {path}) {aside}\n"
        f"systemctl restart {fleet.lab.unit}\nsleep 3\n{show}"
    )
    state = dev.secrets.state()
    answer = dev.site.client.http(dev.vm.ip, fleet.lab.port)
    check(checks.needs_master_key(state, answer.status, unit.stdout))
    dev.succeed("mv", aside, aside.removesuffix(".aside"))
    dev.wait_for_open_port(fleet.lab.port, timeout=30)


def _master_key(dev: Machine, check: Recorder, fleet: Fleet) -> Secret:
    """Require lab's own secret from onboarding, readable by lab alone."""
    state = dev.secrets.state()
    check.require(checks.master_key_present("after onboarding", state))
    found = state.files[MASTER_KEY]
    check(checks.master_key_private(found, fleet.lab.user))
    return found
