"""The fleet server, another machine on the LAN, and pulls from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness import OLD, Machine, MachineError, MachineFactory, poll

SERVER = "fleet.cloonar.com"
UNIT = "bento-upgrade.service"
# What bento remembers of the last pull that it could apply.
STATE = "/var/bento/state"
_HOME = "/srv/fleet"
_PULL_S = 420.0
_GOING_DOWN_S = 60.0

# As rapenne-s/bento sets its server up: a user and a chroot per host, sftp and no more.
_SETUP = """
set -e
useradd --no-create-home --home-dir / --shell /usr/sbin/nologin "$0"
mkdir -p "$1/$0" /etc/ssh/fleet
cat >"/etc/ssh/fleet/$0"
cat >/etc/ssh/sshd_config.d/fleet.conf <<END
Match User $0
  ChrootDirectory $1/%u
  ForceCommand internal-sftp
  AuthorizedKeysFile /etc/ssh/fleet/%u
END
systemctl restart ssh.service
"""
# Whole or not at all; the date comes last, because it is what says that there is more.
_PUBLISH = """
set -e
cd "$0"
chmod -R a+rX,go-w config.new
rm -rf config
mv config.new config
echo "$1" >last_change_date
"""


@dataclass(frozen=True, slots=True)
class Pull:
    """How one pull ended, by systemd's properties and by bento's own log."""

    result: str
    status: int
    invocation: str
    log: str
    rebooted: bool
    restarted: bool


@dataclass(frozen=True)
class Enrolled:
    """A machine that pulls its configuration, and the server it pulls from."""

    dev: Machine
    server: Machine
    own: Mapping[str, str]

    @classmethod
    def of(cls, machine_factory: MachineFactory, vm: str) -> Enrolled:
        """Start both, and give each the other's key.

        The server is the cloud image again, on the address that no machine has before
        the swap.
        """
        server = machine_factory(stage="cloud", vm=OLD)
        dev = machine_factory(stage="onboarded", vm=vm)
        key = dev.secrets.recipient()
        server.succeed("sh", "-c", _SETUP, dev.name, _HOME, stdin=f"{key}\n".encode())
        server.wait_for_open_port(22)
        dev.site.dns.set(SERVER, server.vm.ip)
        host_key = server.secrets.recipient()
        dev.succeed("mkdir", "-p", "/var/bento")
        dev.write_file("/var/bento/known_hosts", f"{SERVER} {host_key}\n")
        names = dev.succeed("ls", "/etc/nixos").split()
        own = {name: dev.read_file(f"/etc/nixos/{name}") for name in names}
        return cls(dev, server, own)

    def publish(self, change: str, module: str, *, marker: str = "") -> None:
        """Offer the machine its own configuration with one more module.

        `marker` is a further, empty file. The server writes to its own disk, which
        works with its cable out as well.
        """
        home = f"{_HOME}/{self.dev.name}"
        files = {**self.own, "pulled.nix": module}
        main = files["configuration.nix"]
        files["configuration.nix"] = main.replace(
            "imports = [", "imports = [ ./pulled.nix", 1
        )
        if marker:
            files[marker] = ""
        self.server.succeed("mkdir", "-p", f"{home}/config.new")
        for name, text in files.items():
            self.server.write_file(f"{home}/config.new/{name}", text)
        self.server.succeed("sh", "-c", _PUBLISH, home, change)

    def start_pull(self) -> str:
        """Start the unit as its timer does; return the invocation before, or nothing.

        A pull that is under way is the one: its timer, stopped while the machine was
        saved, finds itself late and starts one as soon as a switch starts it.
        """
        said = self.dev.sh(_SHOW).stdout
        seen = dict(line.partition("=")[::2] for line in said.splitlines())
        self.dev.succeed("systemctl", "start", "--no-block", UNIT)
        running = seen["ActiveState"] == "activating"
        return "" if running else seen["InvocationID"]

    def pull(self) -> Pull:
        """Run one pull to its end, successful or not."""
        return self.await_pull(self.start_pull())

    def await_pull(self, before: str) -> Pull:
        """Wait for the end of the pull that came after the invocation `before`.

        A machine that goes down afterwards is waited for, so that it can be asked.
        """
        dev, seen = self.dev, {"InvocationID": before}
        invocations: dict[str, None] = {}
        mark = len(dev.qmp().events)
        deadline = dev.deadline(_PULL_S, "a pull to end")

        def look() -> bool | None:
            if _resets(dev, mark):
                return True
            try:
                said = dev.sh(_SHOW).stdout
            except MachineError:
                dev.agent.close()
                return None
            seen.update(line.partition("=")[::2] for line in said.splitlines())
            if seen["InvocationID"] == before:
                return None
            invocations[seen["InvocationID"]] = None
            return True if seen.get("ActiveState") in {"inactive", "failed"} else None

        poll(look, deadline, interval=1.0, seen=lambda: str(seen))
        if seen.get("system") == "stopping" or _resets(dev, mark):
            down = dev.deadline(_GOING_DOWN_S, "the machine to come back from a pull")
            poll(lambda: _resets(dev, mark) or None, down, interval=0.5)
            dev.agent.close()
            dev.wait_ready(dev.deadline(_GOING_DOWN_S, "the machine after a pull"))
        return Pull(
            result=seen.get("Result", ""),
            status=int(seen.get("ExecMainStatus") or 0),
            invocation=seen["InvocationID"],
            log="".join(map(self._log, invocations)),
            rebooted=_resets(dev, mark),
            restarted=len(invocations) > 1,
        )

    def applied(self) -> str:
        """Return the change that bento remembers as applied."""
        return self.dev.execute("cat", STATE).stdout.strip()

    def _log(self, invocation: str) -> str:
        return self.dev.execute(
            *("journalctl", "--no-pager", "-o", "cat"),
            f"_SYSTEMD_INVOCATION_ID={invocation}",
        ).stdout


_SHOW = f"""
systemctl show {UNIT} -p InvocationID,ActiveState,Result,ExecMainStatus
echo "system=$(systemctl is-system-running)"
"""


def _resets(machine: Machine, mark: int) -> bool:
    """Whether the machine was reset since QEMU's event number `mark`."""
    return any(event.name == "RESET" for event in machine.qmp().events[mark:])
