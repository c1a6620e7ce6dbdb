"""Open a site with everything on it, tell its PIDs, and wait to be killed.

hold.py DIRECTORY [once|again]     `again` opens and closes sites until killed
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import HostError
from harness.site import Site, open_site
from harness.site.site import TUN
from harness.spec import Endpoint, Network

NETWORK = Network(
    hosts={"dev.example.org": IPv4Address("10.42.97.15")},
    services={"forgejo-mcp": Endpoint(IPv4Address("10.42.97.5"), 8090)},
)


def furnish(site: Site, stack: ExitStack) -> None:
    """Put on the site whatever a run may have on it."""
    dev = stack.enter_context(site.lan_host("dev", IPv4Address("10.42.97.15")))
    stack.enter_context(site.watch_address(dev.ip))
    stack.enter_context(site.watch_dns("dev.example.org"))
    deaf = ["sh", "-c", "trap '' TERM INT HUP; while :; do sleep 1000; done"]
    stack.enter_context(site.capsule.spawn(deaf, host="client", grace=0.1))
    if os.access(TUN, os.R_OK | os.W_OK):
        stack.enter_context(site.tap("dev"))


def main() -> None:
    """Hold a site until killed."""
    directory, how = Path(sys.argv[1]), sys.argv[2]
    print("ready", flush=True)  # noqa: T201 - the test reads it
    while True:
        with ExitStack() as stack:
            deadline = Deadline.after(20, "a site")
            site = stack.enter_context(open_site(NETWORK, directory, deadline=deadline))
            furnish(site, stack)
            if how == "once":
                told = {
                    "inside": site.capsule.processes(),
                    "init": site.capsule.pid,
                    "rootless": site.capsule.rootless,
                    "status": site.client.http(IPv4Address("10.42.97.5"), 8090).status,
                    "rcode": site.dns.query("dev.example.org").rcode,
                    "taps": site.taps(),
                }
                print(json.dumps(told), flush=True)  # noqa: T201
                signal.pause()


__all__ = ["HostError", "main"]

if __name__ == "__main__":
    main()
