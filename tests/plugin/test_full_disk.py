"""A disk that is full, or may not be written: the verdict is said all the same."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

from harness.deadline import Deadline
from harness.process import Completed, run
from tests.plugin.child import Child
from tests.waiting import patient

if TYPE_CHECKING:
    from pathlib import Path

SUITE = """
    import os
    from pathlib import Path

    import pytest

    from harness.evidence import Check

    REPORTS = Path(os.environ["REPORTS"])

    @pytest.mark.criterion("gc-no-estale")
    def test_one(check):
        check(Check("held", {held}, True))

    @pytest.mark.criterion("gc-no-estale")
    def test_two(check):
        with (REPORTS / "fill").open("wb", buffering=0) as file:
            for size in (4096, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    pass
"""


@pytest.fixture
def mountable(tmp_path: Path) -> None:
    """Skip where this user may not mount a tmpfs in a namespace of its own."""
    argv = [*UNSHARE, "mount", "-t", "tmpfs", "none", str(tmp_path)]
    if run(argv, deadline=patient(20, "a mount")).rc != 0:
        pytest.skip("no mount namespace can be made here")


UNSHARE = ["unshare", "--mount", "--user", "--map-root-user"]


def run_on(child: Child, mount: str, *args: str) -> Completed:
    """Run pytest with a small file system of its own as the place of reports."""
    reports = child.directory / "reports"
    reports.mkdir()
    place = shlex.quote(str(reports))
    command = shlex.join(child.argv("suites", *args))
    # The old report shows that `latest` is not moved to one that is not whole.
    script = f"{mount} {place}; mkdir -p {place}/old; ln -s old {place}/latest"
    script += (
        f"; {command}; status=$?; ls -l {place}/latest; find {place} -name '*.new'"
    )
    script += f"; ls {place}/*/.journal; exit $status"
    return run(
        [*UNSHARE, "sh", "-c", script],
        deadline=Deadline.after(60, "a child pytest on a full disk"),
        env={**child.env(), "REPORTS": str(reports)},
        cwd=child.directory,
    )


@pytest.mark.usefixtures("mountable")
@pytest.mark.parametrize("args", [(), ("-n", "1")], ids=["plain", "xdist"])
@pytest.mark.parametrize(("held", "verdict"), [(True, "pass"), (False, "fail")])
def test_a_disk_full_before_the_report_is_written(
    tmp_path: Path, args: tuple[str, ...], verdict: str, *, held: bool
) -> None:
    """The table is printed, the files are named, `latest` stays, nothing is torn."""
    suite = SUITE.format(held=held)
    child = Child.made_of(tmp_path, {"suites/test_store.py": suite})
    said = run_on(child, "mount -t tmpfs -o size=256k none", "-k", "test_", *args)
    text = said.stdout + said.stderr
    row = next(line for line in text.splitlines() if "* gc-no-estale" in line)
    assert verdict in row or "partial" in row, text
    assert "results.json: no space left on device" in " ".join(text.split())
    assert "--report-dir" in text
    assert "latest -> old" in text
    assert ".new" not in text
    assert "main.jsonl" in text or "gw0.jsonl" in text
    assert "Traceback" not in text
    assert "INTERNALERROR" not in text
    # No status says that all is well.
    assert said.rc in ({2, 5} if held else {1})
