"""Seals secrets, deploys them with a service that reads them, and looks at both."""

import json
import secrets
from dataclasses import dataclass

from harness import GuestFailure, Machine, Rebuild
from suites.onboard.checks.secrets import NAME, Deployed

_READER = "acceptance-reader.service"


@dataclass(frozen=True, slots=True)
class Sealed:
    """A value, and its encrypted form as it is deployed."""

    value: str
    text: str

    @property
    def line(self) -> str:
        """A line that only the encrypted form has."""
        encrypted: str = json.loads(self.text)[NAME]
        return encrypted.splitlines()[1]


@dataclass(frozen=True, slots=True)
class Vault:
    """Deploys one secret of a user, and a service that reads it."""

    dev: Machine
    owner: str

    def seal(self, recipient: str | None = None) -> Sealed:
        """Encrypt a new value for the machine itself, or for another recipient."""
        value = secrets.token_urlsafe(32)
        return Sealed(value, self.dev.secrets.seal({NAME: value}, recipient))

    def switch(self, which: str, sealed: Sealed) -> Rebuild:
        """Switch to a configuration with a sealed value; `which` names its file."""
        path = f"/root/acceptance/{which}.json"
        self.dev.succeed("mkdir", "-p", "/root/acceptance")
        self.dev.write_file(path, sealed.text)
        return self.dev.system.rebuild("switch", _module(path, self.owner))

    def roll_back(self) -> Rebuild:
        """Switch to the generation before the current one."""
        return self.dev.system.rebuild("switch", rollback=True)

    def observe(self, rebuilt: Rebuild) -> Deployed:
        """Look at the secret and its reader after a switch."""
        show = ("systemctl", "show", "-P", "InvocationID", _READER)
        reader = self.dev.succeed(*show).strip()
        return Deployed(rebuilt, self.dev.secrets.state(), reader, self._read())

    def _read(self) -> str:
        """Return the digest that the reader wrote, or why there is none."""
        try:
            return self.dev.wait_until_succeeds(
                "cat", "/run/acceptance-reader/digest", timeout=15
            ).split()[0]
        except GuestFailure as error:
            return str(error)


def _module(path: str, owner: str) -> str:
    """Return a module with a secret, and a service that notes what it reads of it."""
    return f"""
{{ pkgs, ... }}: {{
  sops.secrets.{NAME} = {{
    sopsFile = {path};
    owner = "{owner}";
    mode = "0440";
    restartUnits = [ "{_READER}" ];
  }};
  systemd.services.acceptance-reader = {{
    wantedBy = [ "multi-user.target" ];
    script = ''
      sha256sum </run/secrets/{NAME} >/run/acceptance-reader/digest
      exec sleep infinity
    '';
    serviceConfig.User = "{owner}";
    serviceConfig.RuntimeDirectory = "acceptance-reader";
  }};
}}"""
