"""What systemd accepts of a module's units, and what is read off them."""

from __future__ import annotations

import math
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from harness.errors import InputError
from harness.host import QEMU
from harness.shell import read
from harness.shell.units import settings, span

if TYPE_CHECKING:
    from pathlib import Path

    from harness.shell import Units

TORN = """
[Unit]
Requires=db.service
Requires=dev-kvm.device
[Service]
Exec Start=true
ExecStart=/bin/true
ExecStartPre=/no/such/program
TimeoutStopSec=soon
nonsense
[Mount]
What=x
"""
QEMU_PATH = shutil.which(QEMU) or ""


@pytest.fixture(scope="module", autouse=True)
def _systemd() -> None:
    if shutil.which("systemd-analyze") is None or os.geteuid() != 0:
        pytest.skip("needs systemd and root")


def write(place: Path, **units: str) -> Units:
    """Write units, by name without their type, and read them."""
    for name, text in units.items():
        (place / f"{name}.service").write_text(text)
    return read([place / f"{name}.service" for name in units], "dev")


def oneshot(more: str = "") -> str:
    """Return the text of a oneshot."""
    return f"[Service]\nType=oneshot\nExecStart=/bin/true\n{more}"


def service(more: str = "") -> str:
    """Return the text of the machine's own unit."""
    return f"[Service]\nExecStart={QEMU_PATH} -m 1\n{more}"


def test_all_that_systemd_refuses_is_listed_at_once(tmp_path: Path) -> None:
    """With file and line, in systemd's words; a device is refused by the harness."""
    with pytest.raises(InputError, match="cannot be adopted") as caught:
        write(tmp_path, vm=TORN)
    said = [str(mistake) for mistake in caught.value.evidence]
    file = tmp_path / "vm.service"
    for expected in (
        f"{file}:6: Unknown key",
        f"{file}:9: Failed to parse time value",
        f"{file}:10: Missing '='",
        f"{file}:11: Unknown section 'Mount'",
        "vm.service: Failed to create vm.service/start: Unit db.service not found",
        "vm.service: Command /no/such/program is not executable",
        f"{file}: Requires = dev-kvm.device: no device unit",
    ):
        assert any(line.startswith(expected) for line in said), (expected, said)
    with pytest.raises(InputError, match="a readable file"):
        read([tmp_path / "absent.service"], "dev")


def test_a_cycle_is_refused(tmp_path: Path) -> None:
    """By systemd, that names it."""
    main = "[Unit]\nRequires=a.service\nAfter=a.service\n" + service()
    after = "[Unit]\nAfter=vm.service\n"
    with pytest.raises(InputError, match="cyclic"):
        write(tmp_path, vm=main, a=after + oneshot())


def test_units_are_ordered_as_they_say(tmp_path: Path) -> None:
    """Requires= alone gives no order; After= and Before= do. Strays are left out."""
    units = write(
        tmp_path,
        vm="[Unit]\nRequires=b.service a.service\nAfter=a.service\n" + service(),
        a="[Unit]\nAfter=b.service\n" + oneshot(),
        b=oneshot(),
        stray=oneshot(),
    )
    assert [unit.name for unit in units.before] == ["b.service", "a.service"]
    assert units.unordered == ()
    assert units.emulators == (os.path.realpath(QEMU_PATH),)


def test_a_requirement_without_an_order_is_seen(tmp_path: Path) -> None:
    """Both are started at once, and init loses the race."""
    requires = "[Unit]\nRequires=init.service\n"
    units = write(tmp_path, vm=requires + service(), init=oneshot())
    assert units.unordered == ("init.service",)


def test_drop_ins_and_install_sections_count(tmp_path: Path) -> None:
    """As systemd merges them: in the order of their names, an empty value clears."""
    (tmp_path / "vm.service.d").mkdir()
    (tmp_path / "vm.service.d" / "20-last.conf").write_text(
        "[Service]\nCPUWeight=50\nTimeoutStopSec=infinity\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )
    (tmp_path / "vm.service.d" / "10-first.conf").write_text(
        f"[Service]\nExecStart=\nExecStart={QEMU_PATH} -m 2\nCPUWeight=20\n"
    )
    main = write(tmp_path, vm="[Service]\nExecStart=/bin/false\n").main
    assert main.weight == 50
    assert main.wanted_by == ("multi-user.target",)
    assert main.autostart
    assert math.isinf(main.stop_timeout)
    plain = write(tmp_path, other=service()).main
    assert (plain.weight, plain.autostart, plain.stop_timeout) == (None, False, 90)


def test_a_template_is_the_machines_instance(tmp_path: Path) -> None:
    """`%i` is the VM's name, for the machine's unit and what it needs."""
    needs = "[Unit]\nRequires=init@%i.service\nAfter=init@%i.service\n"
    for name, text in (("vm@", needs + service()), ("init@", oneshot())):
        (tmp_path / f"{name}.service").write_text(text)
    files = [tmp_path / "vm@.service", tmp_path / "init@.service"]
    units = read(files, "dev")
    assert units.main.name == "vm@dev.service"
    assert [unit.name for unit in units.before] == ["init@dev.service"]


@pytest.mark.parametrize(
    ("main", "init", "restarted"),
    [
        ("X-RestartIfChanged=false", "X-RestartIfChanged=no", []),
        ("", "X-RestartIfChanged=false", ["vm.service"]),
        ("X-RestartIfChanged=false", "", ["init.service"]),
        ("X-ReloadIfChanged=true", "RemainAfterExit=no", []),
        ("[Unit]\nX-RestartIfChanged=false", "X-StopIfChanged=false", [
            "init.service", "vm.service",
        ]),
        ("[Unit]\nX-OnlyManualStart=1", "[Unit]\nRefuseManualStop=yes", []),
    ],
)  # fmt: skip
def test_what_a_deploy_of_the_host_restarts(
    tmp_path: Path, main: str, init: str, restarted: list[str]
) -> None:
    """Settings count in their own section, and who requires init goes with it."""
    units = write(
        tmp_path,
        vm="[Unit]\nRequires=init.service\nAfter=init.service\n" + service(main),
        init=oneshot(f"RemainAfterExit=true\n{init}\n"),
    )
    assert list(units.restarted_by_a_deploy) == restarted


def test_one_service_has_to_start_a_qemu(tmp_path: Path) -> None:
    """None is refused, two as well; a sidecar of another program is not counted."""
    with pytest.raises(InputError, match="start no QEMU"):
        write(tmp_path, vm="[Service]\nExecStart=/bin/sleep 1\n")
    with pytest.raises(InputError, match="two units start a QEMU") as caught:
        write(tmp_path, vm=service(), other=service())
    assert "vm.service, other.service" in str(caught.value)
    side = "[Service]\nExecStart=/bin/sleep 1\n"
    assert write(tmp_path, vm=service(), side=side).main.name == "vm.service"


def test_texts_and_times_are_read() -> None:
    """Continued lines, comments, cleared lists; times as `systemctl show` has them."""
    text = "# no\n[Unit]\nA=1\\\n 2\nA=3\n[B]\nA=x\n; no\nA=\n"
    assert settings(text) == {("Unit", "A"): ["1  2", "3"], ("B", "A"): []}
    assert span("1min 30s") == 90
    assert span("1h 500ms") == 3600.5
    assert math.isinf(span("infinity"))
