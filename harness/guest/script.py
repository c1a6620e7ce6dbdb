"""Shell scripts that answer several questions in one process of the guest.

A fork and exec costs a guest under emulation about 0.1 s, so a view asks everything it
wants to know by one script. The scripts lie in `scripts/` as package data; each prints
sections, and the last one proves that the script ran to its end.
"""

from __future__ import annotations

import struct
from contextlib import contextmanager
from functools import cache, wraps
from importlib import resources
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from harness.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.guest.transport import Guest

# ASCII "record separator": no path, unit name or log line contains it.
_MARK = "\x1e"
_LAST = "end"
_SHOWN = 20  # lines of an answer that cannot be read
_Given = ParamSpec("_Given")
_Read = TypeVar("_Read")


class Sections:
    """What a script printed, by the names of its sections."""

    def __init__(self, script: str, texts: dict[str, str]) -> None:
        self._script = script
        self._texts = texts

    def __contains__(self, name: str) -> bool:
        return name in self._texts

    def unreadable(self, error: Exception) -> MachineError:
        """Return the error about an answer that cannot be read."""
        lacks = f"no {error}" if isinstance(error, LookupError) else str(error)
        parts = [f"{name}: {text.strip()}" for name, text in self._texts.items()]
        return MachineError(
            f"the guest's answer to {self._script} cannot be read: {lacks}",
            evidence="\n".join(parts).splitlines()[:_SHOWN],
            hint="look whether the guest's root is full or read-only",
        )

    def names(self) -> list[str]:
        """List the sections in the order in which they were printed."""
        return list(self._texts)

    def text(self, name: str) -> str:
        """Return a section as printed; raises MachineError where there is none."""
        try:
            return self._texts[name]
        except KeyError:
            raise MachineError(
                f"{self._script} printed no section {name!r}",
                seen=", ".join(self._texts) or "nothing",
            ) from None

    def lines(self, name: str) -> list[str]:
        """Return a section's lines."""
        return self.text(name).splitlines()

    def value(self, name: str) -> str:
        """Return a section's only line."""
        return self.text(name).strip()

    def pairs(self, name: str, separator: str = "=") -> dict[str, str]:
        """Return a section of `key=value` lines; the first of equal keys wins."""
        pairs: dict[str, str] = {}
        for line in self.lines(name):
            key, found, value = line.partition(separator)
            if found:
                pairs.setdefault(key, value)
        return pairs


@contextmanager
def readable(sections: Sections) -> Iterator[None]:
    """Raise MachineError where an answer lacks what its reader expects in it.

    A guest whose root is full or read-only runs scripts to their end and still has
    nothing to say: a KeyError would blame the harness.
    """
    try:
        yield
    except (LookupError, ValueError, TypeError, AttributeError, struct.error) as error:
        raise sections.unreadable(error) from error


def reads(parser: Callable[_Given, _Read]) -> Callable[_Given, _Read]:
    """Have a function that reads sections raise MachineError where it cannot."""

    @wraps(parser)
    def read(*args: _Given.args, **kwargs: _Given.kwargs) -> _Read:
        with readable(next(each for each in args if isinstance(each, Sections))):
            return parser(*args, **kwargs)

    return read


@cache
def load(name: str) -> str:
    """Return the text of a script from `scripts/`, with the prelude before it."""
    folder = resources.files(__package__) / "scripts"
    prelude = (folder / "prelude.sh").read_text(encoding="utf-8")
    return f"{prelude}\n{(folder / name).read_text(encoding='utf-8')}"


def parse(script: str, text: str) -> Sections:
    """Split what a script printed. Raises MachineError unless it reached its end."""
    texts: dict[str, str] = {}
    for part in text.split(_MARK)[1:]:
        name, _, body = part.partition("\n")
        texts[name] = texts.get(name, "") + body
    if _LAST not in texts:
        raise MachineError(
            f"{script} did not run to its end", evidence=text.splitlines()[-20:]
        )
    return Sections(script, texts)


def ask(guest: Guest, name: str, *args: str, timeout: float = 60.0) -> Sections:
    """Run a script in the guest and return its sections.

    A name in `.bash` needs bash, any other the guest's `sh`. Raises MachineError when
    the script itself failed: it judges nothing, so that is the instrument's fault.
    """
    shell = "bash" if name.endswith(".bash") else "/bin/sh"
    done = guest.execute(shell, "-c", load(name), name, *args, timeout=timeout)
    if done.rc != 0:
        raise MachineError(
            f"{name} ended with {done.rc} in the guest",
            evidence=done.output.replace(_MARK, "## ").splitlines()[-20:],
        )
    return parse(name, done.stdout)
