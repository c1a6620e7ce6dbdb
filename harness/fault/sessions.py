"""Ways to lose, hide or stop the sessions that a switch has to keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.fault.base import Fault, must_fail
from harness.fault.means import drop_in, program, run

if TYPE_CHECKING:
    from harness.machine import Machine

CRITERION = "switch-keeps-sessions"
LOST = frozenset(
    {
        "the tmux server process is unchanged",
        "session processes and terminals are unchanged",
    }
)
_HOOK = "/usr/local/fault/hook"
_REFUSAL = "/usr/local/fault/tmux"


class LabDropIn(Fault):
    """Lab's unit, with something that its own definition does not have."""

    expects = must_fail(CRITERION, *LOST)
    scenario = "daemon-reexec"
    lines = ""

    def inject(self, machine: Machine) -> None:
        """Add the lines to lab's unit, for the next stop and start."""
        drop_in(machine, machine.lab.unit, f"[Service]\n{self.lines}\n")


class Hook(LabDropIn):
    """A script that runs as root between lab's stop and its next start.

    It knows the unit's cgroup as $group, the user as $user with $uid, and the processes
    of the sessions as $alpha, $beta and $gamma.
    """

    lines = f"ExecStopPost=+{_HOOK}"
    script = ""

    def inject(self, machine: Machine) -> None:
        """Write the script with all that it has to know, and have lab run it."""
        state, lab = machine.lab.state(), machine.lab
        known = {name: str(one.pid) for name, one in state.sessions.items()}
        known |= {"group": f"/sys/fs/cgroup{state.control_group}", "user": lab.user}
        text = "\n".join(f"{name}={value}" for name, value in known.items())
        program(machine, _HOOK, f"{text}\nuid=$(id -u $user)\n{self.script}\nexit 0")
        super().inject(machine)


class ControlGroup(LabDropIn):
    """Lab runs with KillMode=control-group, so its stop kills every session."""

    name = "killmode-control-group"
    source = "Cloonar/coding-lab nix/module.nix (KillMode is load-bearing)"
    lines = "KillMode=control-group"
    fast = True


class Mixed(LabDropIn):
    """Lab runs with KillMode=mixed, which kills all that its main process leaves."""

    name = "killmode-mixed"
    source = "systemd.kill(5), KillMode="
    lines = "KillMode=mixed"


class DeployerKilled(ControlGroup):
    """A switch that was started in a session ends half-way with that session."""

    name = "switch-kills-its-own-session"
    source = "nixpkgs#39118; rapenne-s/bento utils/bento.nix (restartIfChanged = false)"
    expects = must_fail(CRITERION, "nixos-rebuild succeeds from inside a session")
    scenario = "from-a-session"
    fast = False


class SocketDrift(LabDropIn):
    """Lab gets a private /tmp, finds no tmux socket there and starts another server."""

    name = "tmux-socket-drifts"
    source = "Cloonar/coding-lab ADR-0060 (stale socket paths of a surviving server)"
    expects = must_fail(
        CRITERION,
        "exactly one tmux server listens",
        "lab's page lists every live session",
    )
    lines = "PrivateTmp=yes"


class Forgetful(LabDropIn):
    """After its restart lab cannot talk to the living tmux and lists no session."""

    name = "lab-lists-no-sessions"
    source = "tmux#4711 (client 3.6, server 3.5a)"
    expects = must_fail(CRITERION, "lab's page lists every live session")
    lines = "Environment=PATH=/usr/local/fault/path"

    def inject(self, machine: Machine) -> None:
        """Put a tmux in lab's way that knows of no server."""
        refusal = 'echo "no server running on /tmp/default" >&2\nexit 1'
        program(machine, "/usr/local/fault/path/tmux", refusal)
        super().inject(machine)


class Unreachable(Hook):
    """The new system's tmux cannot attach to the server that survived the switch."""

    name = "tmux-refuses-to-attach"
    source = "tmux#4711 (client 3.6, server 3.5a: open terminal failed)"
    expects = must_fail(CRITERION, "a tmux client can attach and run a command")
    script = f"mount --bind {_REFUSAL} /run/current-system/sw/bin/tmux"

    def inject(self, machine: Machine) -> None:
        """Lay a tmux ready that attaches to nothing; all else is the real one's."""
        refusal = "echo 'open terminal failed: not a terminal'; exit 1"
        refuse = f'case "$1 $3" in *attach*) {refusal} ;; esac'
        program(machine, _REFUSAL, f'{refuse}\nexec {_REFUSAL}-real "$@"')
        run(machine, f"cp /run/current-system/sw/bin/tmux {_REFUSAL}-real")
        super().inject(machine)


class Controllers(LabDropIn):
    """A survivor's sub-cgroup has controllers, so lab's next start ends in EBUSY."""

    name = "cgroup-hands-out-controllers"
    source = "Cloonar/coding-lab ADR-0058; systemd#41278"
    expects = must_fail(
        CRITERION, "lab's unit is active", "lab's cgroup delegates no controllers"
    )
    lines = "Delegate=yes"

    def inject(self, machine: Machine) -> None:
        """Do what a container engine in a session does with a delegated cgroup."""
        super().inject(machine)
        group = f"/sys/fs/cgroup{machine.lab.state().control_group}"
        run(
            machine,
            f"mkdir -p {group}/agents\n"
            f"for pid in $(cat {group}/cgroup.procs); do\n"
            f"  echo $pid >{group}/agents/cgroup.procs || :\n"
            "done\n"
            f"echo +memory >{group}/cgroup.subtree_control",
        )


class SocketRemoved(Hook):
    """Lab's stop removes the directory of the tmux socket, its server is lost."""

    name = "tmux-socket-removed"
    source = "Cloonar/coding-lab ADR-0060; systemd.exec(5), RuntimeDirectory="
    expects = must_fail(CRITERION, *LOST, "exactly one tmux server listens")
    script = "rm -rf /tmp/tmux-$uid"


class UserEnded(Hook):
    """The switch ends all processes of lab's user, its sessions among them."""

    name = "user-processes-killed"
    source = "nixpkgs#47387 (a switch restarted user-runtime-dir@)"
    script = "pkill -KILL -u $user"


class ManagerRestarted(Hook):
    """The switch restarts the systemd of lab's user, and its containers end."""

    name = "user-manager-restarted"
    source = "nixpkgs#47387; Cloonar/coding-lab ADR-0060 (containers are its scopes)"
    expects = must_fail(
        CRITERION,
        "the systemd user manager of lab's user is unchanged",
        "session heartbeats are uninterrupted",
    )
    script = "systemctl restart user@$uid.service"


class SessionsFrozen(Hook):
    """The sessions stand still for five seconds during the switch."""

    name = "sessions-freeze-5-s"
    source = "kernel documentation, cgroup-v2, cgroup.freeze"
    expects = must_fail(CRITERION, "session heartbeats are uninterrupted")
    script = """
        mkdir -p $group/frozen
        for pid in $alpha $beta; do echo $pid >$group/frozen/cgroup.procs; done
        echo 1 >$group/frozen/cgroup.freeze
        sleep 5
        echo 0 >$group/frozen/cgroup.freeze
        for pid in $alpha $beta; do echo $pid >$group/cgroup.procs; done
        rmdir $group/frozen
    """


class Stopped(Hook):
    """A session survives the switch as a process, but never runs again."""

    name = "session-never-thaws"
    source = "kernel documentation, cgroup-v2, cgroup.freeze"
    expects = must_fail(CRITERION, "session heartbeats are uninterrupted")
    script = """
        mkdir -p $group/frozen
        echo $alpha >$group/frozen/cgroup.procs
        echo 1 >$group/frozen/cgroup.freeze
    """


class Replaced(Hook):
    """A session of the same name is there after the switch, but it is a new one."""

    name = "session-replaced"
    source = "Cloonar/coding-lab lab-v0 reconcile.go (orphans are torn down)"
    expects = must_fail(CRITERION, "session processes and terminals are unchanged")
    script = (
        "runuser -u $user -- tmux -S /tmp/tmux-$uid/default respawn-pane -k -t =gamma:"
    )
