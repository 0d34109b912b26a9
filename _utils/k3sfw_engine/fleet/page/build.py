"""The page of a cluster: one HTML file that needs nothing else. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jinja2
import markupsafe

from k3sfw_engine.fleet.answers import CheckedCluster
from k3sfw_engine.fleet.page.contents import page_contents
from k3sfw_engine.fleet.page.defaults import LARGEST_ANSWERS
from k3sfw_engine.fleet.page.embedded import content_policy, embedded_json, packed


class UnfitPage(Exception):
    """The files of the page are of another version than this engine."""


@dataclass(frozen=True)
class PageSources:
    """The three files of the page, as texts."""

    html: str
    css: str
    js: str


@dataclass(frozen=True)
class BuiltPage:
    """The page, and its first sentence."""

    html: str
    headline: str


def build_page(
    cluster: CheckedCluster, sources: PageSources, previous: CheckedCluster | None = None
) -> BuiltPage:
    """Build the page of a cluster's answers.

    previous
        Older answers of the same cluster, to compare with.

    Raises ``UnfitPage`` if the files ask for what this version does not give them.
    """
    contents, data = page_contents(cluster, previous)
    answers = packed(cluster.as_dict())
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    try:
        html = environment.from_string(sources.html).render(
            page=contents,
            policy=content_policy(sources.css, sources.js),
            style=_as_it_is(sources.css),
            script=_as_it_is(sources.js),
            data=_as_it_is(embedded_json(data)),
            answers=answers if len(answers) <= LARGEST_ANSWERS else "",
        )
    except jinja2.TemplateError as error:
        raise UnfitPage(str(error)) from error
    return BuiltPage(html, contents["headline"])


def _as_it_is(text: str) -> Any:
    """Our own style and script, and JSON whose signs are escaped already."""
    return markupsafe.Markup(text)
