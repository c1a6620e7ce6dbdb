"""index.html: complete, self-contained, the same every time."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from harness import report
from harness.criteria import REGISTER
from harness.report import html
from tests.report import samples

VOID = {"meta", "br", "link", "img", "input", "hr"}


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
    for words in ("longest gap", "seen from the LAN", "inodes used", "budget"):
        assert words in page.words
    assert "could not be drawn" not in page.words


def test_controls_are_shown(page: HtmlPage) -> None:
    """The matrix appears when there are controls, and only then."""
    assert "killmode-control-group" in page.words
    bare = html.render(samples.results(), Path("/nonexistent"))
    assert "Controls" not in bare


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
