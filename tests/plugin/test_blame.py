"""A test whose site, or a helper in it, died is broken, whatever its checks say."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from harness.process import run
from harness.site.sandbox import unshare
from tests.plugin.child import Child
from tests.waiting import patient

if TYPE_CHECKING:
    from pathlib import Path

SUITE = {
    "suites/conftest.py": """
        import pytest

        from harness.deadline import Deadline
        from harness.fleet import NetworkSpec
        from harness.site import open_site

        @pytest.fixture
        def site(tmp_path):
            deadline = Deadline.after(60, "a site")
            with open_site(NetworkSpec(), tmp_path / "s", deadline=deadline) as site:
                yield site
    """,
    "suites/test_dying.py": """
        import os
        import signal

        import pytest

        from harness.deadline import Deadline, poll
        from harness.evidence import Check
        from harness.process import alive

        def lose(pid):
            os.kill(pid, signal.SIGKILL)
            poll(lambda: not alive(pid) or None, Deadline.after(20, "the end"))

        @pytest.mark.criterion("swap-keeps-address")
        def test_name_server(site, check):
            lose(site.dns.pid)
            known = site.dns.query("dev.example.org").rcode
            check(Check("the name is known", known, "NOERROR"))

        @pytest.mark.criterion("swap-keeps-address")
        def test_namespaces(site, check):
            lose(site.sandbox.pid)
            assert site.client.http(site.gateway.ip, 80).status == 200

        @pytest.mark.criterion("swap-keeps-address")
        def test_unnoticed(site, check):
            lose(site.dns.pid)

        @pytest.mark.criterion("swap-keeps-address")
        def test_well(site, check):
            known = site.dns.query("dev.example.org").rcode
            check(Check("the name is known", known, "NOERROR"))
    """,
}
DNSMASQ = "dnsmasq of the site was ended by SIGKILL while it was needed"
SITE = "the site died: the first process of its namespaces was killed"


def test_what_died_is_named_and_nothing_is_judged(tmp_path: Path) -> None:
    """A check that fails for want of a name server is no failure of the guest."""
    tried = run(
        [*unshare(rootless=os.geteuid() != 0), "true"],
        deadline=patient(10, "namespaces"),
    )
    if tried.rc != 0:
        pytest.skip(f"namespaces are not allowed here: {tried.stderr.strip()}")
    child = Child.made_of(tmp_path, SUITE)
    child.run("suites")
    ended = {
        test.nodeid.rpartition("::")[2]: (
            str(test.outcome),
            test.reason.splitlines()[0],
        )
        for test in child.results().tests
    }
    assert ended["test_name_server"] == ("broken", DNSMASQ)
    assert ended["test_namespaces"] == ("broken", SITE)
    outcome, reason = ended["test_unnoticed"]
    assert outcome == "broken"
    assert reason.endswith(DNSMASQ)
    assert ended["test_well"][0] == "failed"
