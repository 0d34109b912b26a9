"""Open pages in Debian's Chromium, and keep a record of whatever they should not do."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from importlib.resources import files

from playwright.sync_api import sync_playwright

CHROMIUM = "/usr/bin/chromium"
WIDTHS = (390, 1280, 2560)
HEIGHT = 900
# axe's own names for WCAG 2.2, levels A and AA, and its further advice.
AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@contextlib.contextmanager
def chromium():
    """A browser, with nothing of an earlier one."""
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class OpenedPage:
    """A page in the browser.

    said
        What it wrote to the console: errors of its script, and violations of its policy.
    requested
        Every address that it asked for.
    """

    page: object
    said: list = field(default_factory=list)
    requested: list = field(default_factory=list)

    def text_of(self, selector):
        """The text of the first element that is there."""
        return self.page.locator(selector).first.inner_text()

    def texts_of(self, selector):
        """The texts of all elements that are shown."""
        return self.page.locator(selector).evaluate_all(
            "all => all.filter(each => each.checkVisibility()).map(each => each.innerText)"
        )

    def overflow(self):
        """By how many pixels the page is wider than the window."""
        return self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )


@contextlib.contextmanager
def opened(browser, file, *, width=1280, scripts=True, ready=True, fragment="", **options):
    """Open a file as a user does, with the network cut; ``options`` are Playwright's.

    ready
        Whether to wait for the page's own script, if scripts run.
    """
    context = browser.new_context(
        viewport={"width": width, "height": HEIGHT},
        java_script_enabled=scripts,
        offline=True,
        accept_downloads=True,
        **options,
    )
    try:
        found = OpenedPage(context.new_page())
        found.page.on("console", lambda message: found.said.append(message.text))
        found.page.on("pageerror", lambda error: found.said.append(str(error)))
        found.page.on("request", lambda request: found.requested.append(request.url))
        found.page.goto(file.as_uri() + fragment)
        if scripts and ready:
            found.page.wait_for_selector("html[data-ready]", state="attached")
        yield found
    finally:
        context.close()


def axe_violations(opened_page):
    """What axe-core finds: the rule, and the elements.

    Scripts must run: without them, what it promises to return never comes. The page's own policy
    keeps a script element of axe out, so it is evaluated by the debugger.
    """
    page = opened_page.page
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text())
    result = page.evaluate(
        "tags => axe.run(document, {runOnly: {type: 'tag', values: tags}})", AXE_TAGS
    )
    return [
        (violation["id"], node["html"][:200], node["failureSummary"])
        for violation in result["violations"]
        for node in violation["nodes"]
    ]
