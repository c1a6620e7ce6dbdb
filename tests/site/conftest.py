"""One site for a module's tests, where this computer allows one."""

from __future__ import annotations

import os
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest

from harness.fleet import Endpoint, NetworkSpec
from harness.process import run
from harness.site import Site, open_site
from harness.site.sandbox import unshare
from tests.waiting import patient

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def network() -> NetworkSpec:
    """Describe the LAN of a small fleet."""
    return NetworkSpec(
        hosts={"dev.example.org": IPv4Address("10.42.97.15")},
        services={"forgejo-mcp": Endpoint(IPv4Address("10.42.97.5"), 8090)},
    )


@pytest.fixture(scope="session")
def capable() -> None:
    """Skip, saying what is missing, where namespaces are not allowed.

    Asked with a bare `unshare`, so that an error of the harness never skips a test.
    """
    argv = [*unshare(rootless=os.geteuid() != 0), "true"]
    tried = run(argv, deadline=patient(10, "namespaces"))
    if tried.rc != 0:
        pytest.skip(f"namespaces are not allowed here: {tried.stderr.strip()}")


@pytest.fixture(scope="module")
def site(
    network: NetworkSpec, capable: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """Hold a site for the tests of a module."""
    _ = capable
    directory = tmp_path_factory.mktemp("site")
    deadline = patient(20, "a site")
    with open_site(network, directory, deadline=deadline) as site:
        yield site
