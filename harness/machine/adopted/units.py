"""Unit files: what they say, and all that is not understood in one error.

The subset is what a machine's life is made of (systemd.unit(5), systemd.service(5),
systemd.exec(5)). A setting that would change this life, and that nothing here acts on,
is refused; settings about logs and documentation are left alone.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import InputError, Mistake

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LISTS = frozenset(
    {
        "Requires", "Wants", "BindsTo", "Requisite", "PartOf", "After",
        "Before", "WantedBy", "RequiredBy",
    }
)  # fmt: skip
_COMMANDS = frozenset(
    {
        "ExecStartPre", "ExecStart", "ExecStop", "ExecStopPost",
    }
)  # fmt: skip
_WORDS = frozenset(
    {
        "Environment", "EnvironmentFile", "StateDirectory", "RuntimeDirectory",
        "ConditionPathExists",
    }
)  # fmt: skip
_VALUES = frozenset(
    {
        "Type", "RemainAfterExit", "WorkingDirectory", "CPUWeight", "Restart",
        "RestartSec", "KillMode", "KillSignal", "TimeoutStopSec",
        "TimeoutStartSec",
    }
)  # fmt: skip
# Neither starts, stops nor confines anything.
_IDLE = frozenset(
    {
        "Description", "Documentation", "SyslogIdentifier", "StandardOutput",
        "StandardError", "UMask", "StateDirectoryMode", "RuntimeDirectoryMode",
        "StartLimitIntervalSec", "StartLimitBurst", "Slice", "LimitNOFILE",
        "LimitMEMLOCK", "OOMScoreAdjust", "DefaultDependencies", "RefuseManualStop",
    }
)  # fmt: skip
# What keeps a deploy of the host from stopping a unit that it changed. Read in these
# sections alone: nixpkgs switch-to-configuration-ng, src/main.rs, handle_modified_unit.
_KEPT = {
    ("Service", "X-RestartIfChanged"): "false",
    ("Service", "X-ReloadIfChanged"): "true",
    ("Unit", "X-OnlyManualStart"): "true",
    ("Unit", "RefuseManualStop"): "true",
}
_BOOLEANS = {
    **dict.fromkeys(("1", "yes", "true", "on"), "true"),
    **dict.fromkeys(("0", "no", "false", "off"), "false"),
}
_SECTIONS = frozenset({"Unit", "Service", "Install"})
_TYPES = frozenset({"simple", "exec", "oneshot"})
_KILL_MODES = frozenset({"control-group", "mixed", "process", "none"})
_SECONDS = {"": 1.0, "s": 1.0, "sec": 1.0, "ms": 0.001, "min": 60.0, "m": 60.0}
_SPAN = re.compile(r"(\d+(?:\.\d+)?) ?([a-z]*)")
_SPECIFIER = re.compile(r"%(.)")
_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")


@dataclass(frozen=True, slots=True)
class Command:
    """One command line of a unit; a leading `-` makes its failure no failure."""

    argv: tuple[str, ...]
    may_fail: bool = False

    def expanded(self, environment: dict[str, str]) -> list[str]:
        """Fill in variables: `$NAME` alone gives words, `${NAME}` text."""
        words: list[str] = []
        for word in self.argv:
            alone = re.fullmatch(r"\$(\w+)", word)
            if alone:
                words += environment.get(alone[1], "").split()
            else:
                words.append(
                    _VARIABLE.sub(lambda m: environment.get(m[1] or m[2], ""), word)
                )
        return words


@dataclass(frozen=True, slots=True)
class UnitFile:
    """One unit: every setting with its values, an empty one having cleared the list."""

    path: Path
    name: str
    settings: dict[str, tuple[str, ...]]

    def all(self, key: str) -> tuple[str, ...]:
        """Return the values of a setting, words of a list each on its own."""
        return self.settings.get(key, ())

    def last(self, key: str, default: str = "") -> str:
        """Return the value that counts of a setting with one."""
        values = self.settings.get(key, ())
        return values[-1] if values else default

    def commands(self, key: str) -> list[Command]:
        """Return the command lines of an Exec setting."""
        return [_command(line, self.name) for line in self.all(key)]

    def seconds(self, key: str, default: float) -> float:
        """Return a time span; `infinity` is none at all, so the default."""
        value = self.last(key)
        return default if value in ("", "infinity") else _span(value)

    @property
    def oneshot(self) -> bool:
        """Whether it is over when its commands are."""
        return self.last("Type", "simple") == "oneshot"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that its commands get."""
        words = (*self.all("Environment"), *self.all("EnvironmentFile"))
        pairs = (word.partition("=") for word in words)
        return {name: value for name, _, value in pairs}

    @property
    def restarts(self) -> bool:
        """Whether systemd starts it again after an end with status 0."""
        return self.last("Restart") in ("always", "on-success")

    @property
    def outlives_a_deploy(self) -> bool:
        """Whether a deploy of the host that changes it leaves it as it runs.

        A oneshot that does not remain is not running, so there is nothing to stop.
        """
        kept = any(self.last(key) == value for (_, key), value in _KEPT.items())
        remains = _BOOLEANS.get(self.last("RemainAfterExit")) == "true"
        return kept or (self.oneshot and not remains)

    @property
    def autostart(self) -> bool:
        """Whether it comes up with its host."""
        return bool(self.all("WantedBy") or self.all("RequiredBy"))


@dataclass(frozen=True, slots=True)
class Units:
    """The units of one machine: what comes before it, in order, and its own.

    `unordered` are among the first: pulled in by the machine's unit, but not ordered
    against it, so that systemd would start both at the same moment.
    """

    before: tuple[UnitFile, ...]
    main: UnitFile
    unordered: tuple[str, ...] = ()

    @property
    def restarted_by_a_deploy(self) -> tuple[str, ...]:
        """Name the units whose change takes the machine down when its host deploys.

        Its own, and those that it is stopped with (systemd.unit(5): `Requires=`,
        `BindsTo=` and `PartOf=` pass an explicit stop on).
        """
        known = {unit.name: unit for unit in (*self.before, self.main)}
        open_, found = [self.main.name], set[str]()
        while open_:
            name = open_.pop()
            if name in known and name not in found:
                found.add(name)
                for key in ("Requires", "BindsTo", "PartOf"):
                    open_ += known[name].all(key)
        return tuple(n for n in known if n in found and not known[n].outlives_a_deploy)

    @property
    def text(self) -> str:
        """All their command lines, to look for the emulator's name in."""
        units = (*self.before, self.main)
        return "\n".join(line for u in units for k in _COMMANDS for line in u.all(k))


def read(paths: Sequence[Path]) -> Units:
    """Read the units of one machine. Raises InputError with all that is wrong."""
    mistakes: list[Mistake] = []
    found = [unit for path in paths if (unit := _read(path, mistakes)) is not None]
    services = [unit for unit in found if not unit.oneshot]
    if len(services) != 1:
        names = ", ".join(unit.name for unit in services) or "none"
        allowed = "one service that is no oneshot: the machine's"
        mistakes.append(Mistake("--unit", "", names, allowed))
    mistakes += _absent(found)
    if mistakes:
        raise InputError("the units cannot be adopted", mistakes)
    return _ordered(found, services[0])


def _ordered(found: list[UnitFile], main: UnitFile) -> Units:
    """Order by After= and Before= what the machine's unit pulls in."""
    known = {unit.name: unit for unit in found}
    wanted, open_ = set[str](), [main.name]
    while open_:
        name = open_.pop()
        if name in wanted or name not in known:
            continue
        wanted.add(name)
        for key in ("Requires", "Wants", "BindsTo"):
            open_ += known[name].all(key)
    # Somebody else's Before= or RequiredBy= pulls in as well.
    wanted |= {
        unit.name
        for unit in found
        if main.name in (*unit.all("RequiredBy"), *unit.all("WantedBy"))
    }
    graph: dict[str, set[str]] = {name: set() for name in sorted(wanted)}
    for name in wanted:
        graph[name] |= set(known[name].all("After")) & wanted
        for later in set(known[name].all("Before")) & wanted:
            graph[later].add(name)
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        cycle = " → ".join(error.args[1])
        mistake = Mistake("--unit", "After", cycle, "an order without a cycle")
        raise InputError("the units cannot be adopted", [mistake]) from error
    earlier, open_ = set[str](), [main.name]
    while open_:
        fresh = graph[open_.pop()] - earlier
        earlier |= fresh
        open_ += fresh
    before = [known[name] for name in order if name != main.name]
    stray = (unit.name for unit in before if unit.name not in earlier)
    return Units(tuple(before), main, tuple(stray))


def _absent(found: list[UnitFile]) -> Iterator[Mistake]:
    """Name the services that are required and were not given."""
    names = {unit.name for unit in found}
    for unit in found:
        for key in ("Requires", "BindsTo", "Requisite"):
            for other in unit.all(key):
                if other.endswith(".service") and other not in names:
                    allowed = "a unit that is given with --unit as well"
                    yield Mistake(str(unit.path), key, other, allowed)


def _read(path: Path, mistakes: list[Mistake]) -> UnitFile | None:
    """Read a unit file, then the drop-ins that lie beside it in `<name>.d`."""
    unit = UnitFile(path, path.name, {})
    drop_ins = path.with_name(f"{path.name}.d").glob("*.conf")
    for file in (path, *sorted(drop_ins, key=lambda found: found.name)):
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeError) as error:
            mistakes.append(
                Mistake(str(file), "", "", f"a readable unit file ({error})")
            )
            return None
        _merge(unit, file, text, mistakes)
    return unit


def _merge(unit: UnitFile, path: Path, text: str, mistakes: list[Mistake]) -> None:
    """Take all settings of one file."""
    section = ""
    for number, line in _lines(text):
        where = f"{path}:{number}"
        if line.startswith("["):
            section = line.strip("[]")
            if section not in _SECTIONS and not section.startswith("X-"):
                mistakes.append(
                    Mistake(where, line, "", "[Unit], [Service] or [Install]")
                )
            continue
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals:
            mistakes.append(Mistake(where, line, "", "a setting, KEY=VALUE"))
        elif (section, key) in _KEPT:
            unit.settings[key] = (_BOOLEANS.get(value, value),)
        elif not section.startswith("X-") and not key.startswith("X-"):
            mistakes += _take(unit, where, key, value)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield logical lines: continued ones joined, comments and blanks left out."""
    held, began = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if line.startswith(("#", ";")) or not (line or held):
            continue
        began = began or number
        if line.endswith("\\"):
            held += line[:-1] + " "
            continue
        yield began, held + line
        held, began = "", 0
    if held:
        yield began, held


def _take(unit: UnitFile, where: str, key: str, value: str) -> Iterator[Mistake]:
    """Keep one setting, and yield what is wrong with it."""
    if key in _IDLE:
        return
    if key not in _LISTS | _COMMANDS | _WORDS | _VALUES:
        yield Mistake(where, key, value, "no setting that is understood here")
        return
    if not value:
        unit.settings[key] = ()
        return
    try:
        unit.settings[key] = (*unit.all(key), *_values(key, value, unit.name))
    except ValueError as error:
        yield Mistake(where, key, value, str(error))


def _values(key: str, value: str, name: str) -> list[str]:
    """Check a value; raises ValueError with what would have been right."""
    if key in _COMMANDS:
        _command(value, name)
        return [value]
    if key in _LISTS:
        return _specified(value, name).split()
    if key in _WORDS:
        read = _variables if key == "EnvironmentFile" else shlex.split
        return read(_specified(value, name))
    for kind, allowed in (("Type", _TYPES), ("KillMode", _KILL_MODES)):
        if key == kind and value not in allowed:
            raise ValueError(f"one of {', '.join(sorted(allowed))}")
    if key.endswith("Sec") and value != "infinity":
        _span(value)
    if key == "CPUWeight" and not (value.isdigit() and 1 <= int(value) <= 10000):  # noqa: PLR2004 - systemd's own limits
        raise ValueError("a whole number from 1 to 10000")
    return [_specified(value, name)]


def _variables(value: str) -> list[str]:
    """Read a file of variables, which may be missing only behind a `-`."""
    file = Path(value.removeprefix("-"))
    if value.startswith("-") and not file.exists():
        return []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise ValueError(f"a readable file of variables ({error})") from error
    told = [line for line in lines if line.strip() and line.strip()[0] not in "#;"]
    return ["".join(shlex.split(line)) for line in told]


def _command(line: str, name: str) -> Command:
    head = re.match(r"[-+!:@]*", line)
    prefixes = head[0] if head else ""
    if "@" in prefixes:
        raise ValueError("a command without the prefix @")
    words = shlex.split(_specified(line[len(prefixes) :].strip(), name))
    if not words:
        raise ValueError("a command")
    if ";" in words:
        raise ValueError("one command a line, without ;")
    return Command(tuple(words), may_fail="-" in prefixes)


def _specified(text: str, name: str) -> str:
    """Fill in specifiers. Raises ValueError for one that is not known."""
    stem = name.rpartition(".")[0]
    prefix, _, instance = stem.partition("@")
    known = {
        "%": "%", "n": name, "N": stem, "p": prefix, "i": instance, "I": instance,
        "S": "/var/lib", "t": "/run", "h": "/root", "u": "root",
    }  # fmt: skip

    def fill(match: re.Match[str]) -> str:
        if match[1] not in known:
            told = " ".join(f"%{letter}" for letter in known)
            raise ValueError(f"specifiers among {told}")
        return known[match[1]]

    return _SPECIFIER.sub(fill, text)


def _span(value: str) -> float:
    parts = _SPAN.findall(value)
    if not parts or any(unit not in _SECONDS for _, unit in parts):
        raise ValueError("a time span such as 90, 90s or 1min 30s")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
