"""The documentation shows the examples as they are; commands and links are valid."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from twisted.internet.testing import MemoryReactorClock

from tests.web import Browser
from txbayeux import Bayeux
from txbayeux.cli.arguments import options as command_line
from txbayeux.tap import Options

ROOT = Path(__file__).parent.parent

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_the_documentation_shows_is_what_runs(page: Path) -> None:
    shown = re.findall(
        r"<!-- (examples/\S+) -->\n```python\n(.*?)```", page.read_text(), re.DOTALL
    )
    assert page.read_text().count("```python") == len(shown)
    for name, text in shown:
        assert text == (ROOT / name).read_text(), name


def found(pattern: str) -> list[str]:
    """Return what a pattern finds in the documentation, each once."""
    text = "\n".join(page.read_text() for page in PAGES)
    return list(dict.fromkeys(re.findall(pattern, text)))


def test_files_named_in_the_architecture_page_exist() -> None:
    page = (ROOT / "docs/explanation/architecture.md").read_text()
    package = ROOT / "txbayeux"
    rows = re.findall(r"^\| `(\w+(?:/\w+)?)/` \| (.*) \|$", page, re.MULTILINE)
    named = [
        f"{folder}/{name}"
        for folder, text in rows
        for name in re.findall(r"`([a-z_]+)`", text)
    ]
    assert len(named) > 60
    for name in named:
        assert (package / name).is_dir() or (package / f"{name}.py").exists(), name
    for name in re.findall(r"`([a-z_/]+\.(?:py|lua))`", page):
        assert (package / name).exists(), name


@pytest.mark.parametrize(
    "arguments", found(r"twistd [^`\n]*?bayeux (-[^`\n\[]+)(?<!\.\.\.)[`\n]")
)
def test_commands_that_start_the_service_are_valid(arguments: str) -> None:
    Options().parseOptions(shlex.split(arguments))


@pytest.mark.parametrize(
    "arguments", found(r"txbayeux ((?:subscribe|publish) [^`\n.]+[^`\n]*)")
)
def test_commands_of_the_client_are_valid(arguments: str) -> None:
    command_line(shlex.split(arguments))


@pytest.mark.parametrize("body", found(r"-d '(\{.*\})'"))
def test_messages_for_curl_are_accepted(body: str) -> None:
    reactor = MemoryReactorClock()
    bayeux = Bayeux(reactor)
    bayeux.start()
    (reply,) = Browser(bayeux.site()).post(json.loads(body))
    assert reply["successful"]


def test_options_that_are_named_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command_line(["subscribe", "--help"])
    of_client = re.findall(r"--([a-z-]+)", capsys.readouterr().out)
    other = {"pidfile"}  # twistd's
    known = {name.rstrip("=") for name in Options().longOpt} | other | set(of_client)
    text = "".join(page.read_text() for page in (ROOT / "docs/howto").iterdir())
    named = set(re.findall(r"[`\s]--([a-z][a-z-]+)", text))
    assert named - known == set()


SECURITY = (ROOT / "docs/explanation/security.md").read_text()


def test_tests_named_in_the_security_page_exist() -> None:
    named = set(re.findall(r"`((?:[a-z_]+/)?test_[a-z_0-9]+\.py)`", SECURITY))
    assert len(named) > 50
    for name in named:
        assert (ROOT / "tests" / name).exists(), name


def test_each_threat_in_the_security_page_has_a_test() -> None:
    before = SECURITY.partition("## Published advisories")[0]
    rows = [line for line in before.splitlines() if line.startswith("| ")]
    threats = [row for row in rows if not row.startswith("| threat |")]
    assert len(threats) > 40
    for row in threats:
        assert "/test_" in row or "`test_" in row, row


def test_each_advisory_in_the_security_page_has_a_test_of_its_name() -> None:
    names = re.findall(r"^\| (CVE-\S+)(?: \((.*)\))? \|", SECURITY, re.MULTILINE)
    tests = (ROOT / "tests/test_advisories.py").read_text()
    called = set(re.findall(r"^(?:async )?def test_(\w+)", tests, re.MULTILINE))
    expected = [other or number for number, other in names]
    assert called == {re.sub(r"\W", "_", name.lower()) for name in expected}


def test_options_in_the_security_page_have_these_defaults() -> None:
    options = Options()
    shown = re.findall(r"`--([a-z-]+)(?: ([^`]+))?`", SECURITY)
    assert len(shown) > 20
    for name, default in shown:
        assert name in {option.rstrip("=") for option in options.longOpt}, name
        if default and not default.startswith("'"):
            assert str(options[name]) == default, name


def anchors(page: Path) -> set[str]:
    """Return the anchors that a page's headings have on code hosts."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not link.startswith("https:"):
            file, _, anchor = link.partition("#")
            target = page.parent / file if file else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link
