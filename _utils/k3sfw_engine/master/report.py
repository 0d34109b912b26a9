"""The verb report: the page of a cluster, from what nodes answer now or from saved answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from k3sfw_engine.cluster_pillar.named_files import full_path, refuse_unwritable, write_file
from k3sfw_engine.errors import EngineError, Problem
from k3sfw_engine.fleet.answers import CheckedCluster
from k3sfw_engine.fleet.page.build import BuiltPage, PageSources, UnfitPage, build_page
from k3sfw_engine.fleet.returned import Returned
from k3sfw_engine.master.saved_answers import saved_answers

_EXAMPLE = "salt-run k3sfw.report html=/root/cluster.html"


class NoReport(EngineError):
    """The page cannot be written, or what it is made of cannot be read."""

    retcode = 1


def report(
    html: object,
    ask: Callable[[], CheckedCluster],
    read_source: Callable[[str], str],
    *,
    saved: object = None,
    previous: object = None,
) -> Returned:
    """Write the page, and return its path, its size and its first sentence.

    html
        Where to write it.
    ask
        Runs the checks on every node; called only if no answers are given.
    read_source
        Returns one of the page's files.
    saved, previous
        Files with answers: of this page, and older ones to compare with.

    Raises ``NoReport`` with every reason, before any node is asked, or ``EngineError`` if the file
    cannot be written after all.
    """
    problems: list[Problem] = []
    target = _target(html, problems)
    current = _read(saved, "from", problems)
    older = _read(previous, "previous", problems)
    if problems or target is None:
        raise NoReport(problems)
    cluster = current or ask()
    if older and older.cluster != cluster.cluster:
        raise NoReport([_other_cluster(older, cluster)])
    page = _built(cluster, older, read_source)
    content = page.html.encode()
    write_file(target, content)
    return Returned(
        {
            "view": "report",
            "path": str(target),
            "address": target.as_uri(),
            "bytes": len(content),
            "headline": page.headline,
        }
    )


def _built(
    cluster: CheckedCluster, older: CheckedCluster | None, read_source: Callable[[str], str]
) -> BuiltPage:
    sources = PageSources(*(read_source(f"page.{kind}") for kind in ("html", "css", "js")))
    try:
        return build_page(cluster, sources, older)
    except UnfitPage as error:
        fix = "salt-run saltutil.sync_all"
        raise NoReport(
            [Problem(f"the page's files are of another version than the engine ({error})", fix)]
        ) from error


def _target(html: object, problems: list[Problem]) -> Path | None:
    if not isinstance(html, str) or not html:
        problems.append(Problem("html= names no file for the page", _EXAMPLE))
        return None
    try:
        named = full_path(html)
        refuse_unwritable({"html": named})
    except EngineError as error:
        problems += error.problems
        return None
    return named.resolve()


def _read(name: object, argument: str, problems: list[Problem]) -> CheckedCluster | None:
    """The answers in a file; ``None`` if none is named, or with a problem."""
    try:
        return saved_answers(argument, name)
    except EngineError as error:
        problems += error.problems
        return None


def _other_cluster(older: CheckedCluster, cluster: CheckedCluster) -> Problem:
    return Problem(
        f"previous= is of cluster {older.cluster}, and these answers are of {cluster.cluster}",
        "name older answers of the same cluster",
    )
