"""`onboard-secrets`: decrypted for whom they are meant, and never in the store."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from harness import MASTER_KEY, GuestFailure, NotExercised

if TYPE_CHECKING:
    from harness import Fleet, Machine, Rebuild, Recorder

pytestmark = [
    pytest.mark.criterion("onboard-secrets"),
    pytest.mark.stage("onboarded"),
    pytest.mark.disruptive,
]

_NAME = "acceptance"
_READER = "acceptance-reader.service"
# switch-to-configuration's exit status for an activation that failed.
_ACTIVATION_FAILED = 2


@pytest.mark.scenario("owners")
def test_secrets_are_for_their_owners_alone(
    dev: Machine, check: Recorder, fleet: Fleet
) -> None:
    """A new secret, its rotation, the way back, and one that nobody here can read."""
    vault = Vault(dev, check, fleet.lab.user)
    master = _master_key(dev, check, fleet)

    first = vault.deploy("first")
    vault.judge("after a switch", first)
    vault.judge_store(first)

    second = vault.deploy("second")
    if second.reader == first.reader:
        check.check("a service gets the new value", False, "it was not restarted")
    vault.judge("after a rotation", second)
    check.check(
        "old values do not pile up",
        len(dev.secrets.state().kept) == 1,
        f"kept are {dev.secrets.state().kept}",
    )

    back = dev.system.rebuild("switch", rollback=True)
    vault.judge("after a rollback", vault.seen(back, first.value))

    _judge_unreadable(vault, stays=first.value, back=second.value)
    after = dev.secrets.state().files.get(MASTER_KEY)
    check.check(
        "a secret that did not change stays as it is",
        after == master,
        f"{MASTER_KEY} was {master}, is {after}",
    )
    _judge_lab_without_key(dev, check, fleet)


@pytest.mark.thorough
@pytest.mark.scenario("reboot")
def test_secrets_survive_a_reboot(dev: Machine, check: Recorder, fleet: Fleet) -> None:
    """Stage 2 decrypts them before anything starts that needs them."""
    master = _master_key(dev, check, fleet)
    dev.reboot()
    state = dev.secrets.state()
    check.require(
        "secrets are there after a reboot",
        state.files.get(MASTER_KEY) == master,
        f"{MASTER_KEY} was {master}, is {state.files.get(MASTER_KEY)}",
    )
    check.check(
        "secrets lie in memory",
        state.fstype in {"ramfs", "tmpfs"},
        f"{state.link} is on {state.fstype!r}",
    )
    dev.wait_for_unit(fleet.lab.unit)
    dev.wait_for_open_port(fleet.lab.port)


@dataclass(frozen=True)
class Deployed:
    """A secret that was deployed, and the reader's start that came with it."""

    value: str
    sealed: str
    rebuilt: Rebuild
    reader: str


@dataclass(frozen=True)
class Vault:
    """Deploys one secret with a service that reads it, and judges both."""

    dev: Machine
    check: Recorder
    owner: str

    def deploy(self, which: str, recipient: str | None = None) -> Deployed:
        """Seal a new value, for this machine unless told otherwise, and switch."""
        value = secrets.token_urlsafe(32)
        text = self.dev.secrets.seal({_NAME: value}, recipient)
        path = f"/root/acceptance/{which}.json"
        self.dev.succeed("mkdir", "-p", "/root/acceptance")
        self.dev.write_file(path, text)
        rebuilt = self.dev.system.rebuild("switch", _module(path, self.owner))
        return self.seen(rebuilt, value, json.loads(text)[_NAME])

    def seen(self, rebuilt: Rebuild, value: str, sealed: str = "") -> Deployed:
        """Return what was deployed, with the reader as it is now."""
        show = ("systemctl", "show", "-P", "InvocationID", _READER)
        reader = self.dev.succeed(*show).strip()
        return Deployed(value, sealed, rebuilt, reader)

    def judge(self, event: str, deployed: Deployed) -> None:
        """Hold the secret to its value, owner, mode and place, and its reader too."""
        self.check.check(
            "the switch succeeds",
            deployed.rebuilt.succeeded,
            f"{event}: exit status {deployed.rebuilt.rc}: "
            f"{deployed.rebuilt.output[-800:]}",
        )
        state = self.dev.secrets.state()
        found = state.files.get(_NAME)
        self.check.require(
            "the secret is decrypted", found, f"{event}: below /run/secrets {state}"
        )
        assert found is not None
        sealed = self.dev.secrets.digest(deployed.value)
        self.check.check(
            "the secret has the value that was sealed",
            found.digest == sealed,
            f"{event}: {found.digest}, sealed was {sealed}",
        )
        self.check.check(
            "the secret is its owner's",
            (found.owner, found.group) == (self.owner, self.owner),
            f"{event}: it belongs to {found.owner}:{found.group}",
        )
        self.check.check(
            "nobody else can read the secret",
            found.mode == "440",
            f"{event}: its mode is {found.mode}",
        )
        self.check.check(
            "secrets lie in memory",
            state.fstype in {"ramfs", "tmpfs"},
            f"{event}: {state.link} is on {state.fstype!r}",
        )
        read = self._read()
        self.check.check(
            "a service gets the new value",
            read == sealed,
            f"{event}: it read {read}, sealed was {sealed}",
        )

    def judge_store(self, deployed: Deployed) -> None:
        """Search all of the store, and prove that the search would have found it."""
        line = deployed.sealed.splitlines()[1]
        found = self.dev.secrets.search_store(deployed.value, line)
        if not found.sealed:
            raise NotExercised("the search of the store found the encrypted secret")
        self.check.check(
            "nothing secret is in the store",
            not found.plain,
            "the secret's plain text is in a file below /nix/store",
        )

    def _read(self) -> str:
        try:
            return self.dev.wait_until_succeeds(
                "cat", "/run/acceptance-reader/digest", timeout=15
            ).split()[0]
        except GuestFailure as error:
            return str(error)


def _judge_unreadable(vault: Vault, *, stays: str, back: str) -> None:
    """Seal for somebody else: the switch says so, and what was there stays."""
    dev, check = vault.dev, vault.check
    before = dev.secrets.state()
    stranger = dev.succeed("age-keygen").partition("# public key: ")[2].split()[0]
    failed = vault.deploy("third", stranger).rebuilt
    if "activating the configuration" not in failed.output:
        raise NotExercised("a switch came to activation", seen=failed.output[-800:])
    check.check(
        "a secret that cannot be decrypted fails the switch",
        failed.rc == _ACTIVATION_FAILED,
        f"exit status {failed.rc}: {failed.output[-800:]}",
    )
    after = dev.secrets.state()
    check.check(
        "the old secrets stay",
        after == before and after.files[_NAME].digest == dev.secrets.digest(stays),
        f"was {before}, is {after}",
    )
    # The generation before by number, which is that of the second value.
    rolled = dev.system.rebuild("switch", rollback=True)
    vault.judge("after the rollback of an unreadable secret", vault.seen(rolled, back))


def _judge_lab_without_key(dev: Machine, check: Recorder, fleet: Fleet) -> None:
    """Lab must not make itself another master key: what the real one sealed is lost."""
    path = f"/run/secrets/{MASTER_KEY}"
    aside = f"{dev.succeed('readlink', '-f', path).strip()}.aside"
    show = f"systemctl show -p ActiveState,SubState,Result {fleet.lab.unit}"
    said = dev.sh(
        f"mv $(readlink -f {path}) {aside}\n"
        f"systemctl restart {fleet.lab.unit}\nsleep 3\n{show}\nls -l {path}"
    )
    check.check(
        "lab makes itself no other master key",
        dev.execute("test", "-e", path).failed,
        f"without its secret lab came to {said.output}",
    )
    answer = dev.site.client.http(dev.vm.ip, fleet.lab.port)
    check.check(
        "lab does not run without its master key",
        answer.status == 0,
        f"HTTP {answer.status}; the unit: {said.stdout}",
    )
    dev.succeed("mv", aside, aside.removesuffix(".aside"))
    dev.wait_for_open_port(fleet.lab.port, timeout=30)


def _master_key(dev: Machine, check: Recorder, fleet: Fleet) -> object:
    """Demand what onboarding left: lab's own secret, readable by lab alone."""
    found = dev.secrets.state().files.get(MASTER_KEY)
    check.require("lab has its master key", found, f"{dev.secrets.state()}")
    assert found is not None
    check.check(
        "lab's master key is lab's alone",
        (found.owner, found.mode) == (fleet.lab.user, "400"),
        f"it belongs to {found.owner} with mode {found.mode}",
    )
    return found


def _module(path: str, owner: str) -> str:
    """Return a module with a secret, and a service that notes what it reads of it."""
    return f"""
{{ pkgs, ... }}: {{
  sops.secrets.{_NAME} = {{
    sopsFile = {path};
    owner = "{owner}";
    mode = "0440";
    restartUnits = [ "{_READER}" ];
  }};
  systemd.services.acceptance-reader = {{
    wantedBy = [ "multi-user.target" ];
    script = ''
      sha256sum </run/secrets/{_NAME} >/run/acceptance-reader/digest
      exec sleep infinity
    '';
    serviceConfig.User = "{owner}";
    serviceConfig.RuntimeDirectory = "acceptance-reader";
  }};
}}"""
