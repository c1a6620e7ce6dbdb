"""A certificate authority for one site: made for a run, and gone with it.

Its keys never leave the site's directory, which is closed to others and removed at the
end; a report copies nothing from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.process import run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.deadline import Deadline

_AUTHORITY = "authority"
_CONFIG = """\
[req]
distinguished_name = subject
prompt = no
[subject]
CN = {title}
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority with its files in a directory."""

    directory: Path

    @property
    def certificate(self) -> Path:
        """The file of its own certificate: all that a visitor needs to trust it."""
        return self.directory / f"{_AUTHORITY}.pem"

    def issue(self, stem: str, names: Sequence[str], deadline: Deadline) -> None:
        """Write `stem`.pem and `stem`.key for a server of these DNS names."""
        key = self.directory / f"{_AUTHORITY}.key"
        signed = ["-CA", str(self.certificate), "-CAkey", str(key)]
        _request(self.directory / stem, "server", names, signed, deadline)


def found_authority(directory: Path, deadline: Deadline) -> Authority:
    """Make an authority in a directory. Raises ProcessFailed, HostError."""
    title = [f"{_AUTHORITY}.invalid"]
    _request(directory / _AUTHORITY, "authority", title, [], deadline)
    return Authority(directory)


def _request(
    stem: Path,
    section: str,
    names: Sequence[str],
    signed: Sequence[str],
    deadline: Deadline,
) -> None:
    config = stem.with_suffix(".cnf")
    listed = ",".join(f"DNS:{name}" for name in names)
    config.write_text(_CONFIG.format(title=names[0], names=listed), encoding="ascii")
    argv = [
        *("openssl", "req", "-x509", "-days", "2", "-nodes"),
        *("-config", str(config), "-extensions", section),
        *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
        *("-keyout", str(stem.with_suffix(".key"))),
        *("-out", str(stem.with_suffix(".pem"))),
        *signed,
    ]
    run(argv, deadline=deadline).check()
