"""Open a site with everything on it, print its PIDs, and wait to be killed.

hold.py DIRECTORY {once|again}
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path

from harness.fleet import Endpoint, NetworkSpec
from harness.site import Site, open_site
from harness.site.site import TUN
from tests.waiting import patient

NETWORK = NetworkSpec(
    hosts={"dev.example.org": IPv4Address("10.42.97.15")},
    services={"forgejo-mcp": Endpoint(IPv4Address("10.42.97.5"), 8090)},
)


def furnish(site: Site, stack: ExitStack) -> None:
    """Put everything on the site that a run may have on it."""
    dev = stack.enter_context(site.lan_host("dev", IPv4Address("10.42.97.15")))
    stack.enter_context(site.watch_address(dev.ip))
    stack.enter_context(site.watch_dns("dev.example.org"))
    deaf = ["sh", "-c", "trap '' TERM INT HUP; while :; do sleep 1000; done"]
    stack.enter_context(site.sandbox.spawn(deaf, host="client"))
    if os.access(TUN, os.R_OK | os.W_OK):
        stack.enter_context(site.tap("dev"))


def hold(directory: Path) -> None:
    """Hold one site until killed."""
    with ExitStack() as stack:
        deadline = patient(20, "a site")
        site = stack.enter_context(open_site(NETWORK, directory, deadline=deadline))
        furnish(site, stack)
        tell(
            {
                "inside": site.sandbox.processes(),
                "init": site.sandbox.pid,
                "rootless": site.sandbox.rootless,
                "status": site.client.http(IPv4Address("10.42.97.5"), 8090).status,
                "rcode": site.dns.query("dev.example.org").rcode,
                "taps": site.taps(),
            }
        )
        signal.pause()


def hold_again(directory: Path) -> None:
    """Open and close sites in a child until it is killed; a line asks for another."""
    for number in itertools.count():
        child = os.fork()
        if child == 0:
            while True:
                deadline = patient(20, "a site")
                with (
                    ExitStack() as stack,
                    open_site(
                        NETWORK, directory / str(number), deadline=deadline
                    ) as it,
                ):
                    furnish(it, stack)
        tell(child)
        os.waitpid(child, 0)
        sys.stdin.readline()


def tell(what: object) -> None:
    """Say something to the test."""
    print(json.dumps(what), flush=True)  # noqa: T201


def main() -> None:
    """Do as the second argument says in the directory that is the first."""
    directory, how = Path(sys.argv[1]), sys.argv[2]
    {"once": hold, "again": hold_again}[how](directory)


if __name__ == "__main__":
    main()
