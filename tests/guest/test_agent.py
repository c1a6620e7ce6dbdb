"""The agent transport against a peer that really runs processes."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from harness import process
from harness.deadline import Deadline, poll
from harness.errors import DeadlineExpired, GuestFailure, MachineDied
from harness.guest import agent as agent_module
from harness.guest.agent import AgentError, AgentTransport
from harness.guest.transport import PATH, TransportLost
from tests.guest.agent_peer import serve
from tests.waiting import patient

if TYPE_CHECKING:
    from pathlib import Path

    from tests.guest.agent_peer import AgentPeer


def soon(awaited: str = "the test") -> Deadline:
    """Give up long after a healthy test has ended."""
    return patient(10, awaited)


def test_a_command_returns_its_output_and_status(agent: AgentTransport) -> None:
    """Standard output, standard error and exit status come back apart."""
    result = agent.execute(
        ["sh", "-c", "echo out; echo err >&2; exit 3"], deadline=soon()
    )
    assert (result.rc, result.stdout, result.stderr) == (3, "out\n", "err\n")
    with pytest.raises(GuestFailure, match="exit status 3"):
        result.check()


def test_standard_input_reaches_the_command(agent: AgentTransport) -> None:
    """Bytes given as stdin are what the command reads, then end of file."""
    data = bytes(range(256)) * 400
    result = agent.execute(["sha256sum"], deadline=soon(), stdin=data)
    again = agent.execute(["wc", "-c"], deadline=soon(), stdin=data)
    assert len(result.stdout.split()[0]) == 64
    assert int(again.stdout) == len(data)


def test_no_input_is_an_empty_input(agent: AgentTransport) -> None:
    """A command that reads its standard input reaches its end."""
    assert agent.execute(["cat"], deadline=soon()).rc == 0


def test_a_signal_counts_as_a_shell_counts_it(agent: AgentTransport) -> None:
    """A command that a signal ended has 128 + the signal as its status."""
    assert agent.execute(["sh", "-c", "kill -9 $$"], deadline=soon()).rc == 137


def test_an_unknown_program_is_a_result(agent: AgentTransport) -> None:
    """A program that does not exist gives 127, as in a shell, not a broken harness."""
    result = agent.execute(["no-such-program"], deadline=soon())
    assert result.rc == 127
    assert "no-such-program" in result.stderr


def test_a_program_is_searched_without_running_anything(
    agent: AgentTransport,
    peer: AgentPeer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first place that has the program wins, also when it appears there later."""
    monkeypatch.setattr(agent_module, "PATH", (str(tmp_path / "bin"), *PATH))
    assert agent.execute(["echo", "theirs"], deadline=soon()).stdout == "theirs\n"
    assert peer.seen.count("guest-exec") == 1
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "echo").write_text("#!/bin/sh\necho ours\n")
    (tmp_path / "bin" / "echo").chmod(0o755)
    assert agent.execute(["echo", "theirs"], deadline=soon()).stdout == "ours\n"


def test_environment_is_ours_alone(agent: AgentTransport) -> None:
    """Nothing of the agent's own environment leaks into a command."""
    names = agent.execute(["env"], deadline=soon()).stdout.splitlines()
    assert {line.partition("=")[0] for line in names} == {
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "TERM",
        "LANG",
    }


def test_a_late_command_is_killed_with_its_children(
    agent: AgentTransport, tmp_path: Path
) -> None:
    """At the deadline the command and its grandchildren are gone, and it is said."""
    pids = tmp_path / "pids"
    script = f"(sh -c 'echo $$ >> {pids}; sleep 60') & echo $$ >> {pids}; wait"
    with pytest.raises(DeadlineExpired, match="still running"):
        agent.execute(["sh", "-c", script], deadline=Deadline.after(0.6, "the end"))
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) == 2
    for pid in started:
        poll(lambda pid=pid: None if process.alive(pid) else True, soon())  # type: ignore[misc]


def test_two_commands_overlap(agent: AgentTransport, tmp_path: Path) -> None:
    """A command may run while a longer one is under way, from another thread too."""
    fifo = tmp_path / "fifo"
    agent.execute(["mkfifo", str(fifo)], deadline=soon())
    reader = agent.start(["cat", str(fifo)], deadline=soon())
    assert reader.poll(soon()) is None
    writer = threading.Thread(
        target=agent.execute,
        args=(["sh", "-c", f"echo hello > {fifo}"],),
        kwargs={"deadline": soon()},
    )
    writer.start()
    assert reader.wait(soon()).stdout == "hello\n"
    assert reader.wait(soon()).stdout == "hello\n"
    writer.join()


def test_a_restarted_agent_is_noticed(agent: AgentTransport, peer: AgentPeer) -> None:
    """A command that the agent has forgotten is lost, which is not a result."""
    running = agent.start(["sleep", "60"], deadline=soon())
    children = dict(peer.children)
    peer.restart()
    with pytest.raises(TransportLost, match="forgot"):
        running.wait(soon())
    assert agent.execute(["true"], deadline=soon()).rc == 0
    for child in children.values():
        process.kill(child.popen.pid)
        child.thread.join()


def test_a_deaf_agent_runs_into_the_deadline(
    agent: AgentTransport, peer: AgentPeer
) -> None:
    """Silence ends at the deadline, and the next command is in step again."""
    peer.deaf = True
    with pytest.raises(DeadlineExpired, match="the test"):
        agent.execute(["true"], deadline=Deadline.after(0.3, "the test"))
    peer.deaf = False
    assert agent.execute(["echo", "again"], deadline=soon()).stdout == "again\n"


def test_stale_answers_are_thrown_away(agent: AgentTransport, peer: AgentPeer) -> None:
    """Answers from before a resynchronisation are never taken for new ones."""
    peer.noise = b'{"return": {"pid": 1}}\n\xff{"return": 7}\nhalf an ans'
    agent.ping(soon())
    assert agent.execute(["echo", "mine"], deadline=soon()).stdout == "mine\n"


def test_who_knows_better_ends_the_wait(peer: AgentPeer) -> None:
    """An error from the watch ends a wait long before its deadline."""
    peer.deaf = True
    died = MachineDied("QEMU ended")

    def watch() -> None:
        if time.monotonic() > started + 0.3:
            raise died

    started = time.monotonic()
    agent = AgentTransport(peer.path, watch=watch)
    with closing(agent), pytest.raises(MachineDied):
        agent.ping(patient(60, "the agent"))
    assert time.monotonic() - started < 5


def test_no_socket_is_said_at_once(tmp_path: Path) -> None:
    """Where nothing listens, the path and the reason are in the message."""
    with pytest.raises(TransportLost, match=r"qga\.sock: No such file"):
        AgentTransport(tmp_path / "qga.sock").ping(soon())


def test_a_hung_up_connection_is_made_anew(agent: AgentTransport) -> None:
    """After close the next command connects again."""
    agent.ping(soon())
    agent.close()
    assert agent.execute(["true"], deadline=soon()).rc == 0


def test_files_of_any_size_go_both_ways(agent: AgentTransport, tmp_path: Path) -> None:
    """A file larger than a request is written in pieces and read back whole."""
    data = bytes(range(251)) * 9000
    agent.write_file(str(tmp_path / "big"), data, deadline=soon())
    assert (tmp_path / "big").read_bytes() == data
    assert agent.read_file(str(tmp_path / "big"), deadline=soon()) == data
    with pytest.raises(AgentError, match="No such file"):
        agent.read_file(str(tmp_path / "none"), deadline=soon())


def test_clock_and_refusals(agent: AgentTransport) -> None:
    """The clock is read in seconds; what the agent does not know, it refuses."""
    assert abs(agent.time(soon()) - time.time()) < 5
    with pytest.raises(AgentError, match="has not been found"):
        agent.request("guest-dance", deadline=soon())


def test_shutdown_expects_no_answer(agent: AgentTransport, peer: AgentPeer) -> None:
    """A shutdown that is not refused is under way; the connection starts afresh."""
    agent.shutdown(Deadline.after(0.5, "a refusal"), "reboot")
    assert "guest-shutdown" in peer.seen
    agent.ping(soon())


def test_a_long_socket_path(tmp_path: Path) -> None:
    """The kernel's limit of 107 bytes for a socket's path is no limit here."""
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    with serve(deep) as peer:
        agent = AgentTransport(peer.path)
        agent.ping(soon())
        agent.close()
