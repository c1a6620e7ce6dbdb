"""fw and its LAN in a sandbox that no packet leaves.

`open_site` is the door; everything else hangs on the `Site` it yields.
"""

from harness.site.dnsmasq import NO_ANSWER, Answer, Dns
from harness.site.ingress import USER, RunningIngress, Setup
from harness.site.lan import HttpAnswer, LanHost, Neighbour
from harness.site.layout import tap_name
from harness.site.samples import DnsSample, Outage, Sample, longest_outage
from harness.site.sandbox import INSIDE, Resident, Sandbox
from harness.site.site import Site, open_site
from harness.site.trace import Trace
from harness.site.visitor import EventStream, Page, Visitor
from harness.site.watch import AddressWatch, DnsWatch

__all__ = [
    "INSIDE",
    "NO_ANSWER",
    "USER",
    "AddressWatch",
    "Answer",
    "Dns",
    "DnsSample",
    "DnsWatch",
    "EventStream",
    "HttpAnswer",
    "LanHost",
    "Neighbour",
    "Outage",
    "Page",
    "Resident",
    "RunningIngress",
    "Sample",
    "Sandbox",
    "Setup",
    "Site",
    "Trace",
    "Visitor",
    "longest_outage",
    "open_site",
    "tap_name",
]
