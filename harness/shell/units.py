"""The units of a module, as systemd understands them.

`systemd-analyze verify` decides what is a unit; what it says of one is read off a
systemd that has loaded them and starts nothing. Read from the text are only the words
that are not systemd's: how NixOS deploys a changed unit, and which QEMU is meant.
"""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

from harness.deadline import Deadline
from harness.errors import HostError, InputError, Mistake
from harness.files import read_text
from harness.host import remedy
from harness.process import run
from harness.qemu import here
from harness.shell.manager import TARGET, open_manager

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.shell.manager import UnitManager

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROPERTIES = (
    "Type", "RemainAfterExit", "RefuseManualStop", "Requires", "Requisite", "Wants",
    "BindsTo", "PartOf", "After", "CPUWeight", "TimeoutStopUSec", "Environment",
)  # fmt: skip
_PULLS = ("Requires", "Requisite", "Wants", "BindsTo")
_STOPPED_WITH = ("Requires", "BindsTo", "PartOf")
# Reached by default, as after the boot of a host; what units name comes on top.
_TARGETS = frozenset(
    f"{name}.target"
    for name in ("basic", "local-fs", "multi-user", "network", "shutdown", "sysinit")
)
_TARGET_NAME = re.compile(r"\b[\w@.-]+\.target\b")
# What keeps a deploy of the host from stopping a unit that it changed. Read in these
# sections alone: nixpkgs switch-to-configuration-ng, src/main.rs, handle_modified_unit.
_KEPT = {
    ("Service", "X-RestartIfChanged"): False,
    ("Service", "X-ReloadIfChanged"): True,
    ("Unit", "X-OnlyManualStart"): True,
}
_BOOLEANS = {
    **dict.fromkeys(("1", "yes", "true", "on"), True),
    **dict.fromkeys(("0", "no", "false", "off"), False),
}
# Said of settings that are old, and do what they always did.
_OLD = re.compile(r"obsolete|is deprecated|will be removed")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600, "d": 86400}
_EMULATOR = re.compile(r"(?:/[\w.+/-]+/)?qemu-(?:system-x86_64|kvm)\b")
_FILE = re.compile(r"/[\w.+/@-]+")
_DEPTH = 3  # scripts that call scripts that call QEMU
_LARGEST = 1 << 18  # bytes of a script
_VERIFY_S = 60.0


@dataclass(frozen=True, slots=True)
class LoadedUnit:
    """One unit as systemd has loaded it; times are in seconds, `weight` is 1 to 10000.

    `requires` are the units that stop it when they are stopped.
    """

    name: str
    oneshot: bool
    pulls: frozenset[str]
    requires: frozenset[str]
    after: frozenset[str]
    wanted_by: tuple[str, ...]
    weight: int | None
    stop_timeout: float
    outlives_a_deploy: bool

    @property
    def autostart(self) -> bool:
        """Whether it starts with its host."""
        return bool(self.wanted_by)


@dataclass(frozen=True, slots=True)
class Units:
    """The units of one machine: what runs before it, in order, and its own.

    `unordered` are pulled in by the machine's unit but not ordered against it, so that
    systemd starts both at the same moment. `emulators` are the QEMUs that they start.
    """

    files: tuple[Path, ...]
    names: tuple[str, ...]
    before: tuple[LoadedUnit, ...]
    main: LoadedUnit
    unordered: tuple[str, ...]
    emulators: tuple[str, ...]

    @property
    def restarted_by_a_deploy(self) -> tuple[str, ...]:
        """Name the units whose change takes the machine down when its host deploys.

        Its own, and those that it is stopped with (systemd.unit(5): `Requires=`,
        `BindsTo=` and `PartOf=` pass an explicit stop on).
        """
        known = {unit.name: unit for unit in (*self.before, self.main)}
        found = _reach(self.main.name, {n: u.requires for n, u in known.items()})
        return tuple(n for n in known if n in found and not known[n].outlives_a_deploy)


def read(files: Sequence[Path], vm: str) -> Units:
    """Read the units of one machine; a template's instance is the VM's name.

    Raises InputError with all that systemd refuses, HostError without one.
    """
    names = [file.name.replace("@.", f"@{vm}.") for file in files]
    with tempfile.TemporaryDirectory(prefix="vm-acceptance-units-") as place:
        directory = Path(place)
        texts = lay_out(files, directory / "etc" / "system")
        _verify(names, files, texts, directory / "etc" / "system")
        with open_manager(directory, here, covers={}, private_network=True) as manager:
            enable(manager, names)
            targets = [t.name for t in (directory / "etc" / "system").glob("*.target")]
            shown = manager.show_all([*targets, *names], *_PROPERTIES)
    wants = {target: _words(shown[target], *_PULLS) for target in targets}
    loaded = {
        name: _loaded(name, shown[name], text, wants)
        for name, text in zip(names, texts, strict=True)
        if name.endswith(".service")
    }
    path = {name: _environment(shown[name]).get("PATH", _PATH) for name in loaded}
    qemu = {
        name: emulators(text, path[name])
        for name, text in zip(names, texts, strict=True)
        if name in loaded and not loaded[name].oneshot
    }
    main = _main(qemu, [unit.name for unit in loaded.values() if not unit.oneshot])
    return _ordered(tuple(files), loaded, loaded[main], tuple(qemu[main]))


def lay_out(files: Sequence[Path], place: Path) -> list[str]:
    """Copy unit files with their drop-ins, and add the targets; return the texts.

    Raises InputError where one cannot be read.
    """
    place.mkdir(parents=True, exist_ok=True)
    mistakes: list[Mistake] = []
    texts = []
    for file in files:
        drop_ins = sorted(file.with_name(f"{file.name}.d").glob("*.conf"))
        parts = []
        for source in (file, *drop_ins):
            try:
                text = read_text(source, _LARGEST)
            except InputError as error:
                mistakes += error.mistakes
                continue
            target = place / source.relative_to(file.parent)
            target.parent.mkdir(exist_ok=True)
            target.write_text(text, encoding="utf-8")
            parts.append(text)
        texts.append("\n".join(parts))
    if mistakes:
        raise InputError("the units cannot be adopted", mistakes)
    named = {name for text in texts for name in _TARGET_NAME.findall(text)}
    for target in {*_TARGETS, *named, TARGET} - {file.name for file in files}:
        stub = "[Unit]\nDefaultDependencies=no\n"
        (place / target).write_text(stub, encoding="utf-8")
    return texts


def enable(manager: UnitManager, names: Sequence[str]) -> None:
    """Have systemd act on the [Install] sections, as a host's deploy does."""
    manager.systemctl("enable", *names).check()


def _verify(
    names: Sequence[str], files: Sequence[Path], texts: Sequence[str], place: Path
) -> None:
    """Ask systemd what it thinks of the files. Raises InputError with all it says."""
    program = shutil.which("systemd-analyze")
    if program is None:
        raise HostError(
            "there is no systemd-analyze to judge units with",
            hint=remedy("systemd-analyze", "systemd"),
        )
    argv = [program, "verify", "--man=no", "--recursive-errors=yes", *names]
    environment = {
        "PATH": os.environ.get("PATH", _PATH),
        "LANG": "C.UTF-8",
        "SYSTEMD_UNIT_PATH": str(place),
    }
    deadline = Deadline.after(_VERIFY_S, "systemd-analyze verify")
    said = run(argv, deadline=deadline, env=environment).stderr.splitlines()
    mistakes = [
        _mistake(line, place, files)
        for line in dict.fromkeys(said)
        if not _OLD.search(line)
    ]
    for file, text in zip(files, texts, strict=True):
        mistakes += _devices(file, text)
    if mistakes:
        raise InputError("the units cannot be adopted", mistakes)


def _mistake(line: str, place: Path, files: Sequence[Path]) -> Mistake:
    """Name the user's own file and line in what systemd says about our copy."""
    match = re.fullmatch(rf"{re.escape(str(place))}/(\S+?):(\d+): (.*)", line)
    if match is None:
        unit, _, text = line.partition(": ")
        return Mistake(unit, "", "", text or "refused")
    known = {file.name: file for file in files}
    top = match[1].partition(".d/")[0]
    source = known[top].parent / match[1] if top in known else Path(match[1])
    return Mistake(f"{source}:{match[2]}", "", "", match[3])


def _devices(file: Path, text: str) -> Iterator[Mistake]:
    """Refuse what would be waited for in vain: nothing announces devices here."""
    said = settings(text)
    for key in ("Requires", "BindsTo", "Requisite"):
        for value in " ".join(said.get(("Unit", key), [])).split():
            if value.endswith(".device"):
                wanted = "no device unit, because a site has no udev"
                yield Mistake(str(file), key, value, wanted)


def settings(text: str) -> dict[tuple[str, str], list[str]]:
    """Return the values of each setting by section and key; an empty one clears."""
    found: dict[tuple[str, str], list[str]] = {}
    section = ""
    for raw in re.sub(r"\\\n", " ", text).splitlines():
        line = raw.strip()
        if line.startswith("["):
            section = line.strip("[]")
        elif line and line[0] not in "#;":
            key, _, value = (part.strip() for part in line.partition("="))
            values = found.setdefault((section, key), [])
            values[:] = [*values, value] if value else []
    return found


def _loaded(
    name: str,
    shown: Mapping[str, str],
    text: str,
    wants: Mapping[str, frozenset[str]],
) -> LoadedUnit:
    said = settings(text)
    kept = any(
        _BOOLEANS.get("".join(said.get(key, [])[-1:])) is value
        for key, value in _KEPT.items()
    )
    oneshot = shown["Type"] == "oneshot"
    # A oneshot that does not remain is not running, so there is nothing to stop.
    passing = oneshot and shown["RemainAfterExit"] != "yes"
    weight = shown["CPUWeight"]
    return LoadedUnit(
        name=name,
        oneshot=oneshot,
        pulls=_words(shown, *_PULLS),
        requires=_words(shown, *_STOPPED_WITH),
        after=_words(shown, "After"),
        wanted_by=tuple(sorted(t for t, pulled in wants.items() if name in pulled)),
        weight=int(weight) if weight.isdigit() else None,
        stop_timeout=span(shown["TimeoutStopUSec"]),
        outlives_a_deploy=kept or passing or shown["RefuseManualStop"] == "yes",
    )


def _words(shown: Mapping[str, str], *keys: str) -> frozenset[str]:
    return frozenset(word for key in keys for word in shown.get(key, "").split())


def _environment(shown: Mapping[str, str]) -> dict[str, str]:
    pairs = (word.partition("=") for word in shlex.split(shown.get("Environment", "")))
    return {name: value for name, _, value in pairs}


def _main(qemu: Mapping[str, list[str]], services: Sequence[str]) -> str:
    """Choose the machine's own unit: the service that starts a QEMU."""
    candidates = [name for name, found in qemu.items() if found]
    if len(candidates) == 1:
        return candidates[0]
    names = ", ".join(candidates or services) or "none"
    wanted = "one service that starts a QEMU which is on this computer"
    mistake = Mistake("--unit", "ExecStart", names, wanted)
    summary = "the units start no QEMU" if not candidates else "two units start a QEMU"
    raise InputError(summary, [mistake])


def _ordered(
    files: tuple[Path, ...],
    loaded: Mapping[str, LoadedUnit],
    main: LoadedUnit,
    found: tuple[str, ...],
) -> Units:
    """Order what the machine's unit pulls in."""
    wanted = _reach(main.name, {name: unit.pulls for name, unit in loaded.items()})
    graph = {name: loaded[name].after & wanted for name in sorted(wanted)}
    order = [name for name in TopologicalSorter(graph).static_order() if name in loaded]
    earlier = _reach(main.name, graph)
    before = tuple(loaded[name] for name in order if name != main.name)
    stray = tuple(unit.name for unit in before if unit.name not in earlier)
    return Units(files, tuple(loaded), before, main, stray, found)


def _reach(start: str, edges: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Return what can be reached among the keys, the start included."""
    reached, open_ = set[str](), [start]
    while open_:
        name = open_.pop()
        if name in edges and name not in reached:
            reached.add(name)
            open_ += edges[name]
    return frozenset(reached)


def emulators(text: str, path: str = _PATH) -> list[str]:
    """Find every QEMU of this computer that a unit starts, itself or by a script."""
    names: set[str] = set()
    texts, seen = [text], set[str]()
    for _ in range(_DEPTH):
        found = "\n".join(texts)
        names |= set(_EMULATOR.findall(found))
        files = set(_FILE.findall(found)) - seen
        seen |= files
        texts = [said for file in sorted(files) if (said := _script(Path(file)))]
    resolved = (shutil.which(name, path=path) for name in names)
    return sorted({os.path.realpath(where) for where in resolved if where})


def _script(path: Path) -> str:
    with suppress(InputError):  # a program, or a file of the guest
        return read_text(path, _LARGEST)
    return ""


def span(text: str) -> float:
    """Read a time as `systemctl show` writes it, such as `1min 30s`, in seconds."""
    if text == "infinity":
        return math.inf
    parts = re.findall(r"(\d+(?:\.\d+)?)([a-z]+)", text)
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
