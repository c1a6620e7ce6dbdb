"""What other terminals need to know of a running machine, in its run directory.

`harness sh`, `console`, `client` and `open` read it; it lies where only this user can
look, and goes with the machine.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from harness.files import write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from harness.machine import Machine

STATE = "up.json"


def announce(machine: Machine, stage: str, lab_port: int) -> None:
    """Write a machine's name, its stage, its addresses, and the way to the LAN client.

    `client` is the prefix of a command that runs there. It names descriptors of this
    process, so it leads into this site or, when this process has ended, nowhere.
    """
    site = machine.site
    facts = {
        "name": machine.name,
        "stage": stage,
        "pid": os.getpid(),
        "ip": str(machine.vm.ip),
        "lab_port": lab_port,
        "client": site.enter([], host=site.client.host),
    }
    write(machine.directory, facts)


def write(directory: Path, facts: dict[str, object]) -> None:
    """Write facts where `harness sh` looks; in place at once or not at all."""
    write_whole(directory / STATE, json.dumps(facts) + "\n")
