"""Where tables come from: an environment, a git reference or a folder, or what nodes have in force.

A reference is extracted to a temporary folder. Nothing is written to its repository, so that a run
that is killed leaves nothing there.
"""

from __future__ import annotations

import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from k3sfw_engine.cluster_pillar.named_files import full_path
from k3sfw_engine.errors import EngineError, Problem

_REFERENCE = "ref:"
# This file tells the pillar root of k3sfw from those of the site.
_OWN_FILE = "k3s/ports.sls"
# Of the pillar roots inside a folder that is none itself, so many are named.
_MOST_NAMED = 3
# Seconds; git answers from its own files, and a large repository takes some.
_PATIENCE = 120


class Origin(Enum):
    """The kinds of places from which tables can come."""

    ENVIRONMENT = "environment"
    REFERENCE = "reference"
    FOLDER = "folder"
    LIVE = "live"
    KEPT = "kept"


@dataclass(frozen=True)
class PillarSource:
    """One place from which tables can come; ``str`` is what the operator typed.

    value
        The environment, the git reference, or folders separated by commas.
    repository
        The repository of the reference; empty for that of the first pillar root in one.
    """

    origin: Origin
    value: str
    repository: str = ""

    def __str__(self) -> str:
        if self.origin is not Origin.REFERENCE:
            return self.value
        return f"{_REFERENCE}{self.repository and self.repository + '@'}{self.value}"

    @property
    def is_asked_of_nodes(self) -> bool:
        """Whether nodes answer it, and not the pillar on the master."""
        return self.origin in (Origin.LIVE, Origin.KEPT)


@dataclass(frozen=True)
class PillarPlace:
    """Where Salt compiles a pillar.

    environment
        Its ``pillarenv``; ``None`` for what a minion gets that has none of its own.
    roots
        The pillar roots by environment in place of the master's; git pillars are left out then.
    """

    environment: str | None = None
    roots: Mapping[str, Sequence[str]] | None = None


def parse_source(name: str, text: object) -> PillarSource:
    """Read an argument such as ``old=live``. Raises ``EngineError`` if it is not a source."""
    value = text.strip() if isinstance(text, str) else ""
    if not value:
        # Tables can be compared with what nodes answer, and only with that.
        of_nodes = "live, kept, " if name == "old" else ""
        raise EngineError(
            [
                Problem(
                    f"{name}={text} is not a source of tables",
                    f"give {of_nodes}a pillar environment such as base, ref:main, or a folder",
                )
            ]
        )
    if value in (Origin.LIVE.value, Origin.KEPT.value):
        return PillarSource(Origin(value), value)
    if value.startswith(_REFERENCE):
        # A path has no @ in front of a reference's name; @{upstream} of git's has none before it.
        repository, _at, reference = value.removeprefix(_REFERENCE).partition("@")
        if not _at or not repository.startswith(("/", ".", "~")):
            repository, reference = "", value.removeprefix(_REFERENCE)
        return PillarSource(Origin.REFERENCE, reference, repository)
    if "/" in value:
        return PillarSource(Origin.FOLDER, value)
    return PillarSource(Origin.ENVIRONMENT, value)


@contextmanager
def opened(
    source: PillarSource, configured: Mapping[str, Sequence[str]], has_other_pillars: bool
) -> Iterator[PillarPlace]:
    """Provide the place of a source for as long as the block lasts.

    configured
        The master's pillar roots by environment.
    has_other_pillars
        Whether the master has external pillars, whose environments are not known.
    """
    if source.origin is Origin.FOLDER:
        yield PillarPlace(roots={**configured, "base": _folders(source, configured)})
    elif source.origin is Origin.REFERENCE:
        with tempfile.TemporaryDirectory(prefix="k3sfw-pillar-") as folder:
            yield PillarPlace(roots=_extracted(source, configured, Path(folder)))
    else:
        known = {*configured, "base"}
        if not (source.value in known or "__env__" in known or has_other_pillars):
            raise EngineError(
                [
                    Problem(
                        f"{source.value}: the master has no such pillar environment",
                        f"give one of {', '.join(sorted(known))}; a git reference begins with "
                        "ref:, and a folder has a slash",
                    )
                ]
            )
        yield PillarPlace(None if source.value == "base" else source.value)


def _folders(source: PillarSource, configured: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The folders, and behind them k3sfw's own pillar root, unless it is one of them."""
    folders = [full_path(each.strip()) for each in source.value.split(",")]
    problems = [problem for folder in folders for problem in _not_a_root(folder)]
    if problems:
        raise EngineError(problems)
    if not any((folder / _OWN_FILE).exists() for folder in folders):
        folders += [
            root for root in map(Path, configured.get("base", ())) if (root / _OWN_FILE).exists()
        ]
    return tuple(map(str, folders))


def _not_a_root(folder: Path) -> Iterator[Problem]:
    """Why a folder cannot be a pillar root: Salt takes any folder, and finds nothing there."""
    if not folder.is_dir():
        yield Problem(f"{folder} is not a folder", "give a folder that is a pillar root")
    elif not _is_root(folder):
        inside = sorted(str(each) for each in _entries(folder) if _is_root(each))
        yield Problem(
            f"{folder} is not a pillar root: it has neither k3s/ nor top.sls",
            f"give {' or '.join(inside[:_MOST_NAMED]) or 'the folder that has them'}",
        )


def _is_root(folder: Path) -> bool:
    return (folder / "k3s").is_dir() or (folder / "top.sls").is_file()


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []  # Salt cannot read it either.


def _extracted(
    source: PillarSource, configured: Mapping[str, Sequence[str]], target: Path
) -> dict[str, tuple[str, ...]]:
    """The pillar roots, and in place of those in the repository what the reference has there."""
    roots = [root for name in sorted(configured, key=_base_first) for root in configured[name]]
    tops = {root: _top(root) for root in roots}
    wanted = source.repository and str(full_path(source.repository).resolve())
    repository = wanted or next(filter(None, tops.values()), "")
    if repository not in tops.values() or not repository:
        where = f"in {repository}" if wanted else "in a git repository"
        raise EngineError(
            [
                Problem(
                    f"{source}: none of the master's pillar roots ({', '.join(roots)}) is {where}",
                    "check the pillar out, and give its folder in place of a reference",
                )
            ]
        )
    tree = _unpacked(source, repository, target)
    inside = {
        root: Path(root).resolve().relative_to(repository)
        for root in roots
        if tops[root] == repository
    }
    lacking = sorted({str(path) for path in inside.values() if not (tree / path).is_dir()})
    if lacking:
        raise EngineError(
            [
                Problem(
                    f"{source}: {repository} has no {', '.join(lacking)} there, which is a pillar "
                    "root of the master now",
                    "give a reference that has it, or check this one out and give its folder",
                )
            ]
        )
    return {
        name: tuple(str(tree / inside[root]) if root in inside else root for root in of_one)
        for name, of_one in configured.items()
    }


def _base_first(environment: str) -> tuple[bool, str]:
    return environment != "base", environment


def _unpacked(source: PillarSource, repository: str, target: Path) -> Path:
    """The folder with all files of the reference."""
    archive = target / "archive.tar"
    _git(source, repository, "archive", "--format=tar", f"--output={archive}", source.value)
    tree = target / "tree"
    with tarfile.open(archive) as packed:
        # Python has no filters before 3.9.17; each writes below the folder only.
        if hasattr(tarfile, "tar_filter"):
            packed.extraction_filter = tarfile.tar_filter
        packed.extractall(tree)
    return tree


def _top(folder: str) -> str:
    """The top of the repository that a folder lies in, if any."""
    try:
        command = ["git", "-C", folder, "rev-parse", "--show-toplevel"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _git(source: PillarSource, repository: str, *words: str) -> None:
    if source.value.startswith("-") or not source.value:
        raise EngineError(
            [Problem(f"{source} is not a git reference", "give one such as ref:main~1")]
        )
    try:
        command = ["git", "-C", repository, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError([Problem(f"{source}: git cannot be run ({error})", "")]) from error
    if done.returncode:
        raise EngineError(
            [
                Problem(
                    f"{source}: git in {repository} refuses: {' '.join(done.stderr.split())}",
                    f"give a reference that git -C {repository} log -1 REFERENCE knows",
                )
            ]
        )
