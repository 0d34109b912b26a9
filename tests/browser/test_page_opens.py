"""The page opens by itself at every size, with scripts and without, and axe finds nothing."""

import pytest

from tests.headless_chromium import WIDTHS, axe_violations, opened
from tests.page_files import fleet_of_yesterday, fleet_with_everything
from tests.selection import exhaustive

NODES = (5, 300)
SCHEMES = ("light", "dark")


def every_size(*more):
    """Each size of window and cluster; the rest of ``more`` only once for ``make test``."""
    return [
        (width, nodes, *each)
        if at == (place + count) % len(more)
        else exhaustive(width, nodes, *each)
        for place, width in enumerate(WIDTHS)
        for count, nodes in enumerate(NODES)
        for at, each in enumerate(more)
    ]


@pytest.mark.parametrize(("width", "nodes", "scripts"), every_size((True,), (False,)))
def test_the_page_needs_nothing_else_and_fits_into_the_window(
    browser, file_of, width, nodes, scripts
):
    file = file_of(nodes)
    with opened(browser, file, width=width, scripts=scripts) as found:
        assert found.overflow() == 0
        assert found.said == []
        asked_for = [url for url in found.requested if not url.startswith("data:")]
        assert asked_for == [file.as_uri()]


@pytest.mark.parametrize(
    ("width", "nodes", "scheme"), every_size(*((scheme,) for scheme in SCHEMES))
)
def test_axe_finds_nothing(browser, file_of, width, nodes, scheme):
    with opened(browser, file_of(nodes), width=width, color_scheme=scheme) as found:
        found.page.locator("#cell").focus()
        found.page.keyboard.press("Enter")
        found.page.locator("#as-table").click()
        assert axe_violations(found) == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_nothing_in_any_part_of_the_page(browser, write_page, scheme):
    page = write_page(fleet_with_everything(), fleet_of_yesterday())
    with opened(browser, page, color_scheme=scheme) as found:
        parts = found.page.locator("main section[id], main section").count()
        assert parts == 10
        assert found.page.locator(".promise").count() == 2
        found.page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
        assert axe_violations(found) == []
        assert found.overflow() == 0
        assert found.said == []


def test_axe_finds_what_is_wrong(browser, tmp_path):
    file = tmp_path / "bad.html"
    file.write_text("<!doctype html><html><title>x</title><p style='color: #ddd'>faint</p></html>")
    with opened(browser, file, ready=False) as found:
        rules = {rule for rule, _html, _summary in axe_violations(found)}
    assert {"color-contrast", "html-has-lang"} <= rules
