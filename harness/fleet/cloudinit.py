"""Checks of cloud-init data that need no boot."""

from __future__ import annotations

import yaml

from harness.fleet.fields import mistake

HEADERS = (
    "#cloud-config",
    "#!",
    "#include",
    "#cloud-boothook",
    "#part-handler",
    "## template: jinja",
    "Content-Type: multipart",
)
LARGEST = 512 * 2**10  # characters


def check_user_data(text: str) -> str:
    """Refuse user-data that cloud-init would ignore or fail to read."""
    if not text:
        return text
    _check_text(text)
    if not text.startswith(HEADERS):
        raise mistake(
            "user-data must start with one of "
            + ", ".join(f'"{header}"' for header in HEADERS)
            + ": cloud-init ignores anything else"
        )
    if text.startswith("#cloud-config") and "#cloud-config-" not in text[:40]:
        _mapping(text, "user-data", empty=True)
    return text


def check_network_config(text: str) -> str:
    """Refuse a network-config that is not a YAML mapping of version 1 or 2."""
    if not text:
        return text
    _check_text(text)
    config = _mapping(text, "network-config", empty=False)
    inner = config.get("network", config)
    version = inner.get("version") if isinstance(inner, dict) else None
    if type(version) is not int or version not in (1, 2):
        raise mistake('network-config must say "version: 1" or "version: 2"')
    return text


def _check_text(text: str) -> None:
    if len(text) > LARGEST:
        raise mistake(f"at most {LARGEST} characters")
    if not all(c.isprintable() or c in "\t\n\r" for c in text):
        raise mistake("text without control or other unprintable characters")


def _mapping(text: str, what: str, *, empty: bool) -> dict[object, object]:
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        place = "" if line is None else f" (line {line + 1} is not)"
        raise mistake(f"{what} must be valid YAML{place}") from None
    if data is None and empty:
        return {}
    if not isinstance(data, dict):
        raise mistake(f"{what} must be a YAML mapping")
    return data
