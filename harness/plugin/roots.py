"""The root of the project: where its `conftest.py` names this plugin.

pytest takes the first configuration file above the paths of a command line for the
root, and before plugins are loaded it takes the values of their options for paths too:
a `pytest.ini` further up or `--fleet /elsewhere/vms.json` would move it, and with it
the node ids, the spec and the suites.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest
from _pytest.config.findpaths import locate_config

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

CONFTEST = "conftest.py"
_NAME = "harness.plugin"


def root_of(paths: Iterable[Path]) -> Path | None:
    """Return the nearest directory above a path whose `conftest.py` names the plugin.

    None where no path has one: pytest's own root then counts.
    """
    for path in paths:
        for directory in (path, *path.parents):
            if _names_the_plugin(directory / CONFTEST):
                return directory
    return None


def ini_of(root: Path) -> Path | None:
    """Return the configuration file that pytest finds for a root directory."""
    return locate_config(root, [root])[1]


def restart(config: pytest.Config) -> None:
    """Start pytest again with the right root, where it took another one.

    Raises UsageError where that is not possible, or has not helped.
    """
    given = config.known_args_namespace
    here = config.invocation_params.dir
    paths = [(here / arg.partition("::")[0]).resolve() for arg in given.file_or_dir]
    root = root_of(paths or [here])
    if root is None or _right(config, root):
        return
    words = [f"--rootdir={root}"]
    if given.inifilename is None and (ini := ini_of(root)):
        words += ["-c", str(ini)]
    args = [*map(str, config.invocation_params.args)]
    ours = sys.orig_argv[len(sys.orig_argv) - len(args) :] == args
    if words[0] in args or not ours or "PYTEST_XDIST_WORKER" in os.environ:
        raise pytest.UsageError(
            f"pytest took {config.rootpath} for the root of {root}:"
            f" add {' '.join(words)}"
        )
    sys.stdout.flush()
    os.execv(sys.executable, [*sys.orig_argv, *words])  # noqa: S606


def _right(config: pytest.Config, root: Path) -> bool:
    given, ini = config.known_args_namespace, config.inipath
    own = given.inifilename is not None or ini is None or ini.parent == root
    return config.rootpath == root and own


def _names_the_plugin(conftest: Path) -> bool:
    try:
        return _NAME in conftest.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
