"""index.html: complete, self-contained, the same every time."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from harness import report
from harness.criteria import REGISTER, StageName
from harness.evidence import Recorder
from harness.report import html
from harness.report.model import ControlResult
from harness.report.story import chapters
from tests.report import samples

VOID = {"meta", "br", "link", "img", "input", "hr", "path"}


class HtmlPage(HTMLParser):
    """What the tests ask of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.unclosed: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.loaded: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note links and ids, and what would be loaded from elsewhere."""
        given = {name: value or "" for name, value in attrs}
        if tag not in VOID:
            self.open.append(tag)
        if tag == "a":
            self.links.append(given["href"])
        if "id" in given:
            self.ids.append(given["id"])
        if tag in {"script", "img", "link", "iframe", "object"}:
            self.loaded.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take SVG's empty elements, which close themselves."""

    def handle_endtag(self, tag: str) -> None:
        """Check that tags nest."""
        if not self.open or self.open.pop() != tag:
            self.unclosed.append(tag)

    def handle_data(self, data: str) -> None:
        """Gather the text."""
        self.words += data


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write one whole report."""
    directory = tmp_path_factory.mktemp("report")
    samples.lay_out(directory)
    report.write(samples.with_controls(samples.results()), directory)
    return directory


@pytest.fixture(scope="module")
def page(directory: Path) -> HtmlPage:
    """Parse its page."""
    return HtmlPage((directory / "index.html").read_text())


def test_markup_nests(page: HtmlPage) -> None:
    """Every tag closes, in order."""
    assert page.unclosed == []
    assert page.open == []


def test_nothing_is_loaded_from_elsewhere(directory: Path, page: HtmlPage) -> None:
    """The page is one file: no script, no image, no style sheet, no font."""
    assert page.loaded == []
    assert "url(" not in (directory / "index.html").read_text().replace("url(#", "")


def test_every_link_leads_somewhere(directory: Path, page: HtmlPage) -> None:
    """Links go to files of the report or to places on the page."""
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.ids
        elif "switch" not in link or "evidence" not in link:
            assert (directory / unquote(link)).is_file()


def test_all_of_the_register_is_there(page: HtmlPage) -> None:
    """Nothing is silently absent."""
    for row in REGISTER:
        assert row.id in page.words
        assert f"reason of {row.id}" in page.words
        assert f"decided by {row.decided_by}" in page.words


def test_what_the_guest_says_is_text(page: HtmlPage) -> None:
    """Markup in reasons is shown, not obeyed."""
    assert "<two> & more" in page.words
    assert "two MACs answer <b>" in page.words


def test_series_are_drawn(page: HtmlPage) -> None:
    """Heartbeat, timeline and inodes are there as drawings with words in them."""
    for words in ("gap, ms over s since", "inodes in use over switch", "budget 1 000"):
        assert words in page.words
    assert "could not be drawn" not in page.words


def test_every_drawing_has_a_title(directory: Path) -> None:
    """A reader that sees no drawing is read its title."""
    text = (directory / "index.html").read_text()
    drawings = re.findall(r"<svg[^>]*>(?:<title>([^<]*))?", text)
    assert len(drawings) >= 4
    assert all(title.strip() for title in drawings)
    assert text.count("<svg") == len(re.findall(r'<svg[^>]* role="img"', text))


def test_landmarks(directory: Path) -> None:
    """The page has one of each landmark, and a list of contents."""
    text = (directory / "index.html").read_text()
    for tag in ("header", "nav", "main", "footer"):
        assert len(re.findall(rf"<{tag}[ >]", text)) == 1
    for part in ("migration", "criteria", "tests", "controls", "provenance"):
        assert f'href="#{part}"' in text


def test_the_failed_check_comes_first_and_the_rest_is_folded(directory: Path) -> None:
    """Failed and broken tests are open and first; passed ones are folded."""
    text = (directory / "index.html").read_text()
    tests = re.findall(r'<details id="(t\d[^"]*)" class="(\w+)[^"]*"( open)?>', text)
    assert [kind for _, kind, _ in tests] == ["bad", "bad", "fine", "fine"]
    assert [bool(opened) for *_, opened in tests] == [True, True, False, False]
    swap = text[text.index("<details id") :]
    assert swap.index("one-mac") < swap.index("end of the console")


def test_excerpts_of_the_records_are_inside_the_page(page: HtmlPage) -> None:
    """A failed test shows its console; terminal codes and secrets are not in it."""
    assert "end of the console" in page.words
    assert "Linux version" in page.words
    assert "\x1b" not in page.words
    assert "hunter2" not in page.words
    assert "[redacted]" in page.words
    assert "<script>alert(1)</script>" in page.words
    assert "line 1 of many" not in page.words


def test_tests_are_named_by_sentences(page: HtmlPage) -> None:
    """The docstring names a test; without one its name does."""
    assert "The address moves within its budget" in page.words
    assert "Switch (two in a row)" in page.words


def test_the_migration_shows_every_criterion_at_a_stage() -> None:
    """Stages come in the order of the migration, and no row is lost."""
    found = chapters(samples.results())
    stages = [chapter.stage for chapter in found]
    assert stages == [*StageName, "checkout"]
    shown = [row.id for chapter in found for row in chapter.criteria]
    assert sorted(shown) == sorted(row.id for row in REGISTER)


def test_controls_are_shown(page: HtmlPage) -> None:
    """The matrix appears when there are controls, and only then."""
    assert "killmode-control-group" in page.words
    bare = html.render(samples.results(), Path("/nonexistent"))
    assert "Controls" not in bare


def test_a_broken_control_did_not_pass() -> None:
    """What the instrument could not judge is neither detected nor missed."""
    one = ControlResult(id="x", expects=("gc-no-estale",), failed=(), verdict="broken")
    results = samples.results().model_copy(update={"controls": (one,)})
    ((_, cells),) = html.matrix(results)
    assert cells["gc-no-estale"] == "broken"
    other = one.model_copy(update={"failed": one.expects, "verdict": "missed"})
    results = samples.results().model_copy(update={"controls": (other,)})
    ((_, cells),) = html.matrix(results)
    assert cells["gc-no-estale"] == "elsewhere"


def test_a_run_of_controls_opens_with_its_count(tmp_path: Path) -> None:
    """A run under faults alone has no criteria to count."""
    bare = samples.with_controls(samples.results())
    text = html.render(bare.model_copy(update={"tests": ()}), tmp_path)
    head = re.search(r"<h1>(.*?)</h1>", text)
    assert head is not None
    assert head[1] == "1 of 2 faults detected; 1 of 1 harmless variant quiet; 1 missed."
    assert "required criteria" not in text
    assert 'id="migration"' not in text


def test_the_computer_is_named(page: HtmlPage) -> None:
    """Load and steal are what a slow run is explained by."""
    for words in ("2 CPUs", "3940 MiB", "load 0.5 → 2.5", "steal 1.5 %"):
        assert words in page.words


def test_headline_counts_the_five(page: HtmlPage) -> None:
    """The first sentence says what was decided."""
    expected = "1 of 5 required criteria passed; 1 broken, 1 fail, 2 not-run."
    assert expected in page.words


def test_same_results_same_bytes(directory: Path) -> None:
    """Rendering again from what was written gives the same page."""
    before = (directory / "index.html").read_bytes()
    report.write(report.load(directory / "results.json"), directory)
    assert (directory / "index.html").read_bytes() == before


def test_a_torn_series_does_not_cost_the_report(tmp_path: Path) -> None:
    """A drawing that fails is replaced by the reason."""
    samples.lay_out(tmp_path)
    (tmp_path / "evidence/switch/series-dns.json").write_text("{")
    report.write(samples.results(), tmp_path)
    assert "could not be drawn" in (tmp_path / "index.html").read_text()


def test_the_page_stays_small(tmp_path: Path) -> None:
    """Megabytes of a message or of a console do not get into the page."""
    results = samples.results()
    samples.lay_out(tmp_path)
    machine = tmp_path / "machines" / "dev@network.swap.swap"
    (machine / "console.log").write_text("x" * 5_000_000 + "\n" + "y" * 300_000)
    loud = [t.model_copy(update={"reason": "z" * 500_000}) for t in results.tests]
    flaps = [(n / 10, n % 2, "ping") for n in range(20_000)]
    Recorder(samples.SWITCH, tmp_path / "evidence" / "switch").series("address", flaps)
    text = html.render(results.model_copy(update={"tests": tuple(loud)}), tmp_path)
    assert len(text) < 300_000
