"""Whether the reference image can be built on this computer, for `harness doctor`."""

from __future__ import annotations

import os
import pwd
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from harness.deadline import Deadline
from harness.errors import HarnessError
from harness.host import Finding, cache_dir
from harness.host.programs import which
from harness.process import run
from harness.reference.mirror import OVERRIDE, find_mirror
from harness.reference.recipe import SUITE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.reference.mirror import Mirror

_HELPER = "/usr/lib/apt/apt-helper"
_EXAMINE_S = 60.0
_SUBORDINATES = (Path("/etc/subuid"), Path("/etc/subgid"))


def ability(environ: Mapping[str, str]) -> list[Finding]:
    """Say for each thing that a build needs, besides programs, whether it is there.

    The mirror is asked; never raises.
    """
    if which("apt-get") is None:
        return []  # said with the programs
    return [_mirror(environ), *_subordinate_ids()]


def _mirror(environ: Mapping[str, str]) -> Finding:
    name, another = "Debian mirror", f"name one that answers in ${OVERRIDE}"
    deadline = Deadline.after(_EXAMINE_S, "a Debian mirror to answer")
    try:
        found = find_mirror(environ, deadline)
        refused = _refused(found, deadline)
    except HarnessError as error:
        detail = f"{error.summary}: {error.seen}" if error.seen else error.summary
        return Finding(name, False, detail, error.hint or another)
    if refused:
        return Finding(name, False, f"{found.uri}: {refused}", another)
    return Finding(name, True, f"{found.uri}, keys in {found.keyring}")


def _refused(mirror: Mirror, deadline: Deadline) -> str:
    """Ask a mirror for the suite, in apt's own way; return why it cannot be had."""
    with tempfile.TemporaryDirectory(prefix=".mirror-", dir=cache_dir()) as name:
        options = ["Acquire::http::Timeout=10", "Acquire::Retries=0"]
        words = [word for each in options for word in ("-o", each)]
        release = f"{mirror.uri}/dists/{SUITE}/InRelease"
        argv = [_HELPER, *words, "download-file", release, str(Path(name) / "Release")]
        said = run(argv, deadline=deadline)
    lines = [line for line in said.stderr.splitlines() if line.startswith("E:")]
    return "" if said.rc == 0 else " ".join(lines[:1]) or f"exit status {said.rc}"


def _subordinate_ids() -> Iterator[Finding]:
    """Look for the ids that a user namespace of an ordinary user is made of."""
    if os.geteuid() == 0:
        return
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = str(os.geteuid())
    span = "100000-165535"
    mend = f"as root: usermod --add-subuids {span} --add-subgids {span} {user}"
    for file in _SUBORDINATES:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except OSError:
            lines = []
        listed = any(line.startswith(f"{user}:") for line in lines)
        detail = f"{user} has ids" if listed else f"{user} has none"
        yield Finding(str(file), listed, detail, mend)
