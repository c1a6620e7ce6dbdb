"""The places of suites: directories of the project, or installed packages."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pytest

INI = "acceptance_suites"
DEFAULT = ("suites",)


@dataclass(frozen=True, slots=True)
class SuitePlaces:
    """The directories of all suites of a project."""

    own: tuple[Path, ...]
    installed: tuple[Path, ...] = ()

    @classmethod
    def of(cls, root: Path, names: Iterable[str]) -> SuitePlaces:
        """Find each: a directory below `root`, else the package of that name."""
        own, installed = [], []
        for name in names:
            package = None if (root / name).is_dir() else _module(name)
            if package is None:
                own.append((root / name).resolve())
            else:
                installed.append(package.parent)
        return cls(tuple(own), tuple(installed))

    @property
    def all(self) -> tuple[Path, ...]:
        """Every directory, the project's own first."""
        return (*self.own, *self.installed)

    def below(self, file: Path) -> Path | None:
        """Give a file's path below its suites; None if it lies in none of them."""
        found = (d for d in self.all if file.is_relative_to(d))
        directory = next(found, None)
        return None if directory is None else file.relative_to(directory)

    def covered_by(self, paths: Sequence[Path]) -> bool:
        """Whether these paths make pytest collect every suite.

        A virtual environment inside the project is one that pytest does not enter.
        """
        return all(_above(paths, own) for own in self.own) and all(
            directory in paths for directory in self.installed
        )

    def touched_by(self, path: Path) -> bool:
        """Whether a path lies in suites, or suites of the project below it."""
        return self.below(path) is not None or any(_above([path], d) for d in self.own)


def path_of(config: pytest.Config, arg: str) -> Path:
    """Resolve one argument of pytest's command line, a module's name with --pyargs."""
    name = arg.partition("::")[0]
    if config.getoption("pyargs") and (module := _module(name)):
        return module.parent if module.name == "__init__.py" else module
    return (config.invocation_params.dir / name).resolve()


def _above(paths: Iterable[Path], directory: Path) -> bool:
    return any(directory.is_relative_to(path) for path in paths)


def _module(name: str) -> Path | None:
    """Find the file of an importable module; of a package, its `__init__.py`."""
    if not all(part.isidentifier() for part in name.split(".")):
        return None
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin).resolve() if spec and spec.origin else None
