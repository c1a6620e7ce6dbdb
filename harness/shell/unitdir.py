"""A machine's directory as its units find it: their files, the shim, the channels.

directory/etc      /etc/systemd: the unit files, their drop-ins, and ours
directory/state    /var/lib
directory/inside   /run/vm-acceptance: what QEMU's stand-in needs and makes
"""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.qemu import Disk, MachinePlan
from harness.shell import shim
from harness.shell.manager import INSIDE, REAL
from harness.shell.units import lay_out

if TYPE_CHECKING:
    from harness.fleet import Vm
    from harness.host import Accelerator
    from harness.shell.units import Units

STATE = Path("/var/lib")
_OUTPUT = f"""\
[Service]
StandardOutput=append:{INSIDE}/units.log
StandardError=append:{INSIDE}/units.log
"""


@dataclass(frozen=True, slots=True)
class UnitDirectory:
    """Where the units of one machine run."""

    units: Units
    directory: Path
    accelerator: Accelerator

    @property
    def inside(self) -> Path:
        """What units have as /run/vm-acceptance."""
        return self.directory / "inside"

    @property
    def state(self) -> Path:
        """What units have as /var/lib."""
        return self.directory / "state"

    def plan(self, vm: Vm, disk: Path, tap: str) -> MachinePlan:
        """Say where our channels are, and what a throwaway machine gets."""
        return MachinePlan(
            name=vm.name,
            directory=self.directory,
            mem=vm.mem,
            vcpu=vm.vcpu,
            mac=vm.mac,
            accelerator=self.accelerator.name,
            cpu=self.accelerator.cpu,
            disk=Disk(path=disk, serial=vm.name),
            tap=tap,
        )

    def prepare(self, plan: MachinePlan) -> dict[str, Path]:
        """Lay out units, shim and channels; return what covers which QEMU."""
        for place in (self.inside, self.state):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A unit may have a user of its own, who has to make sockets here.
        self.inside.chmod(0o1777)
        for path in (plan.console_socket, plan.agent_socket, plan.monitor_socket):
            self._lead_inside(path)
        self._lead_inside(plan.console_log)
        self._lead_inside(self.directory / "units.log")
        facts = {
            "record": f"{INSIDE}/given.json",
            "state": str(STATE),
            "real": str(REAL),
            "accelerator": plan.accelerator,
            "cpu": plan.cpu,
            "mem": plan.mem,
            "vcpu": plan.vcpu,
            "agent": f"{INSIDE}/{plan.agent_socket.name}",
            "console": f"{INSIDE}/{plan.console_socket.name}",
            "log": f"{INSIDE}/{plan.console_log.name}",
            "monitor": f"{INSIDE}/{plan.monitor_socket.name}",
            "qmp": f"{INSIDE}/qmp.sock",
        }
        (self.inside / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")
        shutil.copyfile(Path(shim.__file__), self.inside / "shim.py")
        for left in ("given.json", "qmp.sock"):
            (self.inside / left).unlink(missing_ok=True)
        python = f"{REAL}{os.path.realpath(sys.executable)}"
        words = [python, "-I", "-S", f"{INSIDE}/shim.py", f"{INSIDE}/facts.json"]
        program = self.inside / "qemu"
        program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$0" "$@"\n')
        program.chmod(0o755)
        self._lay_out_units()
        return dict.fromkeys(self.units.emulators, INSIDE / "qemu")

    def _lay_out_units(self) -> None:
        etc = self.directory / "etc"
        shutil.rmtree(etc, ignore_errors=True)
        texts = lay_out(self.units.files, etc / "system")
        strict = any("ProtectSystem=strict" in text for text in texts)
        opened = f"ReadWritePaths={INSIDE}\n" if strict else ""
        (etc / "system" / "service.d").mkdir()
        output = etc / "system" / "service.d" / "vm-acceptance.conf"
        output.write_text(_OUTPUT + opened)
        patience, stop = self.accelerator.patience, self.units.main.stop_timeout
        if patience > 1 and not math.isinf(stop):
            scaled = f"[Service]\nTimeoutStopSec={stop * patience:.0f}s\n"
            self.drop_in("zz-patience", scaled)

    def drop_in(self, name: str, text: str) -> None:
        """Add settings to the machine's own unit, for the manager's next load."""
        place = self.directory / "etc" / "system" / f"{self.units.main.name}.d"
        place.mkdir(exist_ok=True)
        (place / f"{name}.conf").write_text(text)

    def _lead_inside(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        path.symlink_to(self.inside / path.name)
