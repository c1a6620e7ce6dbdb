"""testinfra's own modules over the agent's transport."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from harness.guest.agent import AgentTransport
from harness.guest.testinfra import testinfra_host
from tests.guest.agent_peer import serve

if TYPE_CHECKING:
    from pathlib import Path


def test_modules_see_the_guest(tmp_path: Path) -> None:
    """Files, processes and commands are asked through the transport."""
    (tmp_path / "it's").write_text("grün\n", encoding="utf-8")
    with serve(tmp_path) as peer, closing(AgentTransport(peer.path)) as agent:
        host = testinfra_host(agent, "dev")
        file = host.file(str(tmp_path / "it's"))
        assert file.exists
        assert file.content_string == "grün\n"
        assert host.run("exit %s", "3").rc == 3
        assert host.check_output("echo %s", "a b") == "a b"
        assert host.backend.get_pytest_id() == "transport://dev"
        assert peer.seen.count("guest-exec") >= 4


def test_another_user_needs_no_sudo(tmp_path: Path) -> None:
    """Becoming another user goes through `runuser`; nothing else is needed for root."""
    with serve(tmp_path) as peer, closing(AgentTransport(peer.path)) as agent:
        backend = testinfra_host(agent).backend
        assert backend.get_sudo_command("id -u", "lab") == (
            "runuser -u lab -- /bin/sh -c 'id -u'"
        )
        with testinfra_host(agent).sudo():
            pass
