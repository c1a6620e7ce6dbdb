"""Cutting secrets out of evidence: private keys, and values that set a password."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def scrub(directory: Path) -> None:
    """Cut private keys and password values out of every file of a directory, in place.

    Works on whole files: a secret may straddle any chunk. Logs of a run are some MB.
    """
    for path in sorted(directory.rglob("*")):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            without = clean(content)
            if without != content:
                path.write_bytes(without)


def clean(content: bytes) -> bytes:
    """Cut private keys and password values out of text."""
    return _SETTING.sub(_without_value, redact(content))


_KEY = re.compile(
    rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?"
    rb"(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
_AGE = re.compile(rb"AGE-SECRET-KEY-1[0-9A-Z]+")
# The value's quotes, escaped ones too, stay: a JSON file must remain one.
_SETTING = re.compile(
    rb"""(?ix) (?: ^ | (?<=[\s"'{,]) )
    ( (?: (?: plain_text_ | hashed_ )? passw(?:or)?d | passphrase )
      \\? ["']? \s* [:=] [ \t]* )
    (?! \\? ["']? \[redacted )
    (?: ( \\? ["'] ) [^"'\n\\]+ | [^\s"',}\\]+ )""",
    re.MULTILINE,
)
_CHPASSWD = re.compile(rb"^\s*(chpasswd)\s*:", re.MULTILINE)  # cloud-init's list


def redact(content: bytes) -> bytes:
    """Cut private keys (PEM, OpenSSH, age) out of evidence."""
    return _AGE.sub(
        b"[redacted: age key]", _KEY.sub(b"[redacted: private key]", content)
    )


def _without_value(found: re.Match[bytes]) -> bytes:
    return found.group(1) + (found.group(2) or b"") + b"[redacted]"


def redact_text(text: str) -> str:
    """Cut private keys out of a message."""
    return redact(text.encode(errors="replace")).decode()


def secret_setting(content: bytes) -> str:
    """Name the first setting that carries a password and its line, or nothing."""
    found = _SETTING.search(content) or _CHPASSWD.search(content)
    if found is None:
        return ""
    line = content.count(b"\n", 0, found.start()) + 1
    name = re.split(rb"\W", found.group(1))[0].decode()
    return f"{name} in line {line}"
