"""Units as a module like `qemu-vm.nix` generates them, with a store of their own.

`units/` has their text. Names in @…@ are what the module fills in: options of the VM,
and the paths of what it built.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harness.host import QEMU
from harness.qemu import seed

if TYPE_CHECKING:
    from ipaddress import IPv4Interface

    from harness.fleet import Vm

TEXTS = Path(__file__).parent / "units"
_INIT = "vm-{name}-init-start"


def lay_out(
    store: Path, vm: Vm, base: Path, gateway: IPv4Interface, **replaced: str
) -> list[Path]:
    """Write a VM's units and scripts below `store`; return the unit files.

    `replaced` has other texts for files, by their names without the VM's: `tap_down`.
    """
    store.mkdir(parents=True, exist_ok=True)
    filled = {
        "name": vm.name,
        "store": str(store),
        "base": str(base),
        "qemu": shutil.which(QEMU) or QEMU,
        "python": sys.executable,
        "tap": vm.tap,
        "mac": vm.mac,
        "mem": str(vm.mem),
        "vcpu": str(vm.vcpu),
        "diskSizeG": str(vm.disk_size_g),
        "cpuWeight": str(vm.cpu_weight or 100),
    }
    units = []
    for source in sorted(TEXTS.iterdir()):
        name = source.name.replace("@name@", vm.name)
        short = source.name.removeprefix("vm-@name@-").replace("-", "_")
        text = replaced.get(short, source.read_text(encoding="utf-8"))
        for key, value in filled.items():
            text = text.replace(f"@{key}@", value)
        target = store / name
        if source.name.endswith("-init-start"):
            target = store / f"unit-script-{name}" / "bin" / name
            target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        if source.suffix == ".service":
            units.append(target)
        else:
            target.chmod(0o755)
    seed.write(store / "seed.iso", seed.contents(vm, gateway))
    return units


if __name__ == "__main__":
    # python -m tests.shell.realistic FLEET VM IMAGE STORE: for a look by hand
    from ipaddress import IPv4Interface as Interface

    from harness.fleet import load_fleet

    fleet = load_fleet(Path(sys.argv[1]))
    network = fleet.network
    router = Interface((network.gateway, network.subnet.prefixlen))
    for unit in lay_out(
        Path(sys.argv[4]), fleet.vms[sys.argv[2]], Path(sys.argv[3]), router
    ):
        sys.stdout.write(f"{unit}\n")
