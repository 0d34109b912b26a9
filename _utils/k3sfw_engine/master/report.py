"""The verb report: the page of a cluster, from what nodes answer now or from saved answers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from k3sfw_engine.cluster_pillar.named_files import write_file
from k3sfw_engine.errors import EngineError, Problem
from k3sfw_engine.fleet.answers import CheckedCluster
from k3sfw_engine.fleet.page.build import BuiltPage, PageSources, UnfitPage, build_page
from k3sfw_engine.fleet.read_answers import UnusableAnswers, read_saved
from k3sfw_engine.fleet.returned import Returned

# Answers of 5,000 nodes that asked each other in full have about 500 MB.
_LARGEST = 1_000_000_000
_SAVE = "salt-run k3sfw.check save=answers.json"
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
    target = Path(html).resolve()
    if target.is_dir():
        fix = f"name a file in it: html={target / 'cluster.html'}"
        problems.append(Problem(f"html={html} is a folder", fix))
    elif target.exists() and not target.is_file():
        problems.append(Problem(f"html={html} is not a file", "name another one"))
    elif not target.parent.is_dir():
        fix = f"mkdir -p {target.parent}"
        problems.append(Problem(f"the folder of html={html} does not exist", fix))
    elif not os.access(target.parent, os.W_OK | os.X_OK):
        fix = "name a file in a folder that you may write to, or run salt-run as root"
        problems.append(Problem(f"{target.parent} may not be written to", fix))
    return target


def _read(name: object, argument: str, problems: list[Problem]) -> CheckedCluster | None:
    """The answers in a file; ``None`` if none is named, or with a problem."""
    if name in (None, ""):
        return None
    given = f"{argument}={name}"
    try:
        file = Path(str(name))
        if file.stat().st_size > _LARGEST:
            problems.append(Problem(f"{given} is larger than any answers", _SAVE))
            return None
        return read_saved(file.read_text(encoding="utf-8"))
    except UnusableAnswers as error:
        found = "; ".join(each.text for each in error.problems)
        problems.append(Problem(f"{given} does not hold saved answers: {found}", _SAVE))
    except UnicodeDecodeError:
        problems.append(Problem(f"{given} does not hold saved answers: it is not text", _SAVE))
    except OSError as error:
        problems.append(Problem(f"{given} cannot be read: {error.strerror}", _SAVE))
    return None


def _other_cluster(older: CheckedCluster, cluster: CheckedCluster) -> Problem:
    return Problem(
        f"previous= is of cluster {older.cluster}, and these answers are of {cluster.cluster}",
        "name older answers of the same cluster",
    )
