"""The sandbox's end: after any end of its owner, no process of it stays."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import sysconfig
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING, Any

import psutil
import pytest

from harness.deadline import Deadline, poll
from harness.errors import DeadlineExpired, HarnessError, ProcessFailed, SiteDied
from harness.process import PIPE, Popen, alive, kill, run, spawn
from harness.site import layout, open_site
from harness.site.sandbox import unshare
from tests.offspring import offspring
from tests.waiting import patience, patient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.fleet import NetworkSpec

pytestmark = pytest.mark.usefixtures("capable")

HOLD = Path(__file__).with_name("hold.py")
REPOSITORY = Path(__file__).parents[2]
GONE_WITHIN = 2.0
NOBODY = 65534


def soon(awaited: str = "the test") -> Deadline:
    """Give up long after a healthy test has ended."""
    return patient(20, awaited)


@dataclass
class Holder:
    """A process that holds a site; `mark` is in its offspring's environment."""

    process: Popen[bytes]
    mark: str

    def told(self) -> Any:
        """Read what it says next."""
        said: IO[bytes] | None = self.process.stdout
        assert said is not None
        return json.loads(said.readline())

    def again(self) -> None:
        """Ask for another child."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def offspring(self) -> list[int]:
        """Find every process that descends from it, orphans included."""
        return [pid for pid in offspring(self.mark) if pid not in self.known]

    @property
    def known(self) -> set[int]:
        """Those that may stay: the test, and a holder that sends children ahead."""
        alive_still = {self.process.pid} if self.process.poll() is None else set()
        return {os.getpid()} | alive_still

    def left(self) -> str:
        """Describe what is left of it, for the one who wonders why."""
        words = []
        for pid, argv in offspring(self.mark).items():
            with suppress(OSError):
                state = Path(f"/proc/{pid}/wchan").read_text()
                words.append(f"{pid} {state} {argv}")
        return "\n".join(words)

    def gone(self) -> bool | None:
        """Whether nothing of it is left."""
        return True if not self.offspring() else None


@contextmanager
def holder(directory: Path, how: str, *prefix: str) -> Iterator[Holder]:
    """Start a process that holds a site."""
    mark = f"sandbox-{uuid.uuid4()}"
    environment = {**os.environ, "MARK": mark, "PYTHONPATH": search_path()}
    argv = [*(prefix or [sys.executable]), str(HOLD), str(directory), how]
    with spawn(argv, stdin=PIPE, stdout=PIPE, env=environment, grace=1) as process:
        yield Holder(process, mark)


@pytest.mark.parametrize(
    ("sign", "within"),
    [
        (signal.SIGKILL, GONE_WITHIN),
        (signal.SIGTERM, GONE_WITHIN),
        # An interrupted owner unwinds and waits for its watchers' last answers.
        (signal.SIGINT, 10.0),
    ],
)
def test_nothing_outlives_its_owner(
    tmp_path: Path, sign: signal.Signals, within: float
) -> None:
    """Name server, watchers, a process deaf to signals, links: gone in two seconds."""
    links = os.listdir("/sys/class/net")  # noqa: PTH208
    with holder(tmp_path, "once") as held:
        told = held.told()
        assert len(told["inside"]) >= 6
        members = {kind: sharers(told["init"], kind) for kind in ("net", "mnt")}
        held.process.send_signal(sign)
        awaited = patient(within, "the sandbox to be gone")
        poll(held.gone, awaited, seen=held.left)
        poll(lambda: not any(map(alive, told["inside"])) or None, awaited)
        # By process, not by the namespace's number: the kernel reuses those.
        for kind, processes in members.items():
            assert processes, kind
            left = [p for p in processes if p.is_running() and alive(p.pid)]
            assert left == [], kind
    assert os.listdir("/sys/class/net") == links  # noqa: PTH208


def test_no_moment_of_death_leaves_anything(tmp_path: Path) -> None:
    """Killed at ten moments, half-made sites included."""
    moments = random.Random(159)  # noqa: S311 - to be the same in every run
    with holder(tmp_path, "again") as held:
        for _ in range(10):
            child = held.told()
            moment = Deadline.after(moments.uniform(0, 0.4), "the moment")
            with suppress(DeadlineExpired):
                poll(lambda: None, moment)
            kill(child)
            awaited = patient(GONE_WITHIN, "everything to be gone")
            poll(held.gone, awaited, seen=held.left)
            held.again()


def test_the_end_of_the_with_is_the_end(network: NetworkSpec, tmp_path: Path) -> None:
    """Closing takes everything down and does not take long."""
    with open_site(network, tmp_path, deadline=soon()) as site:
        inside = site.sandbox.processes()
        deaf = ["sh", "-c", "trap '' TERM; while :; do sleep 1000; done"]
        argv = site.enter(deaf)
        before = len(inside)
        left = spawn(argv, grace=0.1)
        left.__enter__()
        more = poll(
            lambda: site.sandbox.processes()[before:] or None, soon(), interval=0.01
        )
    assert not any(alive(pid) for pid in [*inside, *more])
    left.__exit__(None, None, None)


def test_the_first_process_reaps_orphans(network: NetworkSpec, tmp_path: Path) -> None:
    """A process whose parent went before it leaves no zombie."""
    with open_site(network, tmp_path, deadline=soon()) as site:
        init = site.sandbox.pid
        children = Path(f"/proc/{init}/task/{init}/children")
        orphans = "for n in 1 2 3 4 5; do (sleep 0.5 &) ; done >/dev/null 2>&1"
        site.execute(["sh", "-c", orphans], deadline=soon()).check()
        assert children.read_text()
        poll(lambda: not children.read_text() or None, soon("orphans to be reaped"))


def test_a_killed_nsenter_takes_its_command_with_it(
    network: NetworkSpec, tmp_path: Path
) -> None:
    """Killing what we see of a command ends the command itself."""
    with open_site(network, tmp_path, deadline=soon()) as site:
        before = set(site.sandbox.processes())
        deaf = ["sh", "-c", "trap '' TERM INT HUP; echo on; exec sleep 1000"]
        with spawn(site.enter(deaf, host="client"), stdout=PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"on\n"
            process.kill()
            process.wait()

        def gone() -> bool | None:
            return True if set(site.sandbox.processes()) == before else None

        poll(gone, Deadline.after(2, "the command to be gone"))


def test_a_capsule_lost_on_the_way_is_said_once(
    network: NetworkSpec, tmp_path: Path
) -> None:
    """Its early end: using it is a HarnessError, leaving it raises no other one."""

    def body() -> None:
        with (
            open_site(network, tmp_path, deadline=soon()) as site,
            site.lan_host("dev", IPv4Address("10.42.97.15")),
        ):
            kill(site.sandbox.pid)
            for pid in site.sandbox.processes():
                poll(lambda pid=pid: not alive(pid) or None, soon(), interval=0.01)  # type: ignore[misc]
            assert site.execute(["true"], deadline=soon()).rc != 0
            site.client.http(site.gateway.ip, 80)

    with pytest.raises(HarnessError, match="the site died"):
        body()


def test_the_death_of_the_site_is_named(network: NetworkSpec, tmp_path: Path) -> None:
    """By the signal, also where nothing was asked of it since."""

    def body() -> None:
        with open_site(network, tmp_path, deadline=soon()) as site:
            kill(site.sandbox.pid)

    with pytest.raises(SiteDied, match="first process of its namespaces"):
        body()


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_the_death_of_a_helper_is_named(
    network: NetworkSpec, tmp_path: Path, sign: signal.Signals
) -> None:
    """Dnsmasq and a server, at once where it is asked, else at the end, and once."""
    started = soon("the end")

    def lose(pid: int) -> None:
        os.kill(pid, sign)
        poll(lambda: not alive(pid) or None, started, interval=0.01)

    def body(name: str, *, ask: bool) -> None:
        with (
            open_site(network, tmp_path / name, deadline=soon()) as site,
            site.serve(site.client, 81),
        ):
            served = site.sandbox.needed.values()
            lose(next(r.pid for title, r in served if name in title))
            if ask:
                site.check()

    for ask in (True, False):
        with pytest.raises(SiteDied, match="dnsmasq of the site was ended"):
            body("dnsmasq", ask=ask)
        with pytest.raises(SiteDied, match="the server of client on port 81 was ended"):
            body("port 81", ask=ask)


def test_a_command_inside_keeps_status_and_output(
    network: NetworkSpec, tmp_path: Path
) -> None:
    """Standard input, both outputs and the exit status pass through."""
    with open_site(network, tmp_path, deadline=soon()) as site:
        talk = ["sh", "-c", "cat; echo err >&2; exit 7"]
        ended = site.sandbox.run(talk, stdin=b"in", deadline=soon())
        assert (ended.rc, ended.stdout, ended.stderr) == (7, "in", "err\n")


def test_a_site_directory_below_run_is_still_there_inside(network: NetworkSpec) -> None:
    """The private /run does not hide it."""
    base = Path(os.environ.get("XDG_RUNTIME_DIR", "/run"))
    if not (base.is_relative_to("/run") and os.access(base, os.W_OK)):
        pytest.skip(f"{base} is not a directory below /run that this user may write")
    with (
        TemporaryDirectory(dir=base) as name,
        open_site(network, Path(name) / "s", deadline=soon()) as site,
    ):
        assert site.dns.query("dev.example.org").rcode == "NOERROR"
        seen = site.execute(["ls", "/run"], deadline=soon()).stdout.split()
        ours = {"netns", "mount", Path(layout.RESOLVER).name}
        assert set(seen) <= {*ours, *Path(name).relative_to("/run").parts}


def test_refused_namespaces_are_this_computers_lack(tmp_path: Path) -> None:
    """Where the kernel allows no more of them, the error says so and how to mend it."""
    forbid = 'echo 0 >/proc/sys/user/max_net_namespaces && exec "$@"'
    nested = ["unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh"]
    argv = [*nested, sys.executable, str(HOLD), str(tmp_path), "once"]
    environment = {**os.environ, "PYTHONPATH": search_path()}
    told = run(argv, deadline=soon(), env=environment).stderr
    assert "HostError" in told
    assert "does not allow the namespaces" in told
    assert "user.max_user_namespaces" in told


def test_a_lan_that_cannot_be_made_shows_why(
    network: NetworkSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The words of the failing tool are in the error."""
    monkeypatch.setattr(layout, "BRIDGE", "a-name-that-is-too-long")
    with (
        pytest.raises(ProcessFailed, match="Command failed"),
        open_site(network, tmp_path, deadline=soon()),
    ):
        pass


def test_a_lan_that_takes_too_long_is_given_up(
    network: NetworkSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline counts while it is being made, and what was made goes at once."""
    monkeypatch.setattr(layout, "capsule_script", lambda *_: "exec sleep 1000")
    began = time.monotonic()
    with (
        pytest.raises(DeadlineExpired),
        open_site(network, tmp_path, deadline=Deadline.after(0.5, "a site")),
    ):
        pass
    assert time.monotonic() - began < GONE_WITHIN * patience()


def test_an_ordinary_user_has_a_whole_site(
    ordinary_user: list[str],
) -> None:
    """Without root: names, services, watchers and, where open, taps; and its end."""
    with TemporaryDirectory() as name:
        os.chown(name, NOBODY, NOBODY)
        with holder(Path(name) / "s", "once", *ordinary_user) as held:
            told = held.told()
            assert told["rootless"]
            assert (told["status"], told["rcode"]) == (200, "NOERROR")
            held.process.kill()
            awaited = patient(GONE_WITHIN, "everything to be gone")
            poll(held.gone, awaited, seen=held.left)
            poll(lambda: not any(map(alive, told["inside"])) or None, awaited)


@pytest.fixture
def ordinary_user() -> list[str]:
    """Build the words that run a program as user `nobody`, or skip."""
    if os.geteuid() != 0:
        pytest.skip("this user is one: every other test of this room is this test")
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    for python in (sys.executable, "/usr/bin/python3"):
        words = [*drop, "env", f"PYTHONPATH={search_path()}", python]
        tried = run([*words, "-c", "import harness.site"], deadline=soon())
        allowed = run([*drop, *unshare(rootless=True), "true"], deadline=soon())
        if tried.rc == 0 and allowed.rc == 0:
            return words
    pytest.skip(
        "nobody may not make namespaces or reach this Python: "
        + (allowed.stderr + tried.stderr).strip().splitlines()[-1]
    )


def search_path() -> str:
    """Build the PYTHONPATH of an interpreter that may lie outside our environment."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return os.pathsep.join(
        filter(None, [str(REPOSITORY), sysconfig.get_path("purelib"), *given])
    )


def namespace(pid: int, kind: str) -> str:
    """Name a namespace of a process."""
    return str(Path(f"/proc/{pid}/ns/{kind}").readlink())


def sharers(pid: int, kind: str) -> list[psutil.Process]:
    """Find all processes in the namespace that this one has."""
    name, found = namespace(pid, kind), []
    for process in psutil.process_iter():
        with suppress(OSError, psutil.Error):
            if namespace(process.pid, kind) == name:
                found.append(process)
    return found
