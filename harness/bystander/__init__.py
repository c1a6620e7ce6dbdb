"""A bystander: a machine that an event on another one must not affect.

`watching` observes it from the host, from inside and from the LAN; `checks` decides.
"""

from harness.bystander.checks import (
    GuestView,
    HostView,
    Traffic,
    bystander_keeps_running,
    bystander_stays_reachable,
    bystander_undisturbed,
)
from harness.bystander.watching import (
    Bystander,
    observe_bystander,
    watch_bystander,
)

__all__ = [
    "Bystander",
    "GuestView",
    "HostView",
    "Traffic",
    "bystander_keeps_running",
    "bystander_stays_reachable",
    "bystander_undisturbed",
    "observe_bystander",
    "watch_bystander",
]
