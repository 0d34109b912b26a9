"""The command metrics: write what the checks measured for node_exporter, and remember it.

Whether and where is remembered too, so that a check writes its metrics even if it fails because the
pillar cannot be read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from k3sfw_engine import __version__
from k3sfw_engine.checks.metrics.measurements import (
    WARNED,
    CheckedTables,
    CheckRun,
    Measurements,
    add_runs,
)
from k3sfw_engine.checks.metrics.node_families import NodeState, node_families
from k3sfw_engine.checks.metrics.saved_form import read_saved_form, write_saved_form
from k3sfw_engine.checks.report import PromiseHere, Report
from k3sfw_engine.errors import EngineError, Problem
from k3sfw_engine.host.atomic_files import replace_files
from k3sfw_engine.host.lock import only_one
from k3sfw_engine.host.metrics_file import METRICS_FILE, remove_metrics_file, write_metrics_file
from k3sfw_engine.host.proof_record import read_proofs
from k3sfw_engine.model.exposition import write_exposition
from k3sfw_engine.model.rows import Tables
from k3sfw_engine.model.tables_digest import digest_of
from k3sfw_engine.plan.promises import PromiseValue
from k3sfw_engine.port_tables.read_metrics import MetricsSettings
from k3sfw_engine.transaction.interrupted import unfinished_now
from k3sfw_engine.transaction.journal import STATE, make_state_folder, past

MEASUREMENTS = STATE / "measurements.json"
_LOCK = Path("/run/k3sfw-metrics.lock")
# Writing takes milliseconds; a check must not wait long for what is not its purpose.
_LOCK_SECONDS = 5.0


@dataclass(frozen=True)
class MetricsNode:
    """The node as its series name it."""

    name: str
    cluster: str
    role: str


@dataclass(frozen=True)
class MetricsResult:
    """What was done, or would be.

    changes
        By file: ``written`` if it was not there, ``removed``.
    problems
        Why something could not be done.
    notices
        What happened besides.
    text
        The metrics; empty if they are switched off.
    """

    changes: Mapping[str, str]
    problems: tuple[Problem, ...] = ()
    notices: tuple[str, ...] = ()
    text: str = ""


def write_metrics(
    settings: MetricsSettings, node: MetricsNode, now: float, *, test: bool = False
) -> MetricsResult:
    """Write the metrics where the settings say, or remove them if they are switched off.

    now
        In seconds since 1970.

    Raises ``EngineError`` if another run holds the lock for too long.
    """
    with only_one(_LOCK, _LOCK_SECONDS):
        known, notices = _begin_anew_if_broken()
        changes = dict(_changes(known.folder, settings))
        if test:
            return MetricsResult(changes, notices=notices)
        if not settings.enabled:
            return MetricsResult(changes, tuple(_switch_off(known)), notices)
        problems = []
        if known.folder not in ("", str(settings.folder)):
            problems += _removed(Path(known.folder))
        known = replace(known, folder=str(settings.folder), interval=settings.interval)
        problems += _remembered(known)
        text, unread = _text(known, node, now)
        problems += [*unread, *_written(known.folder, text)]
        return MetricsResult(changes, tuple(problems), notices, text)


def note_runs(runs: Iterable[CheckRun], node: MetricsNode, now: float) -> tuple[str, ...]:
    """Add what checks found, and write the metrics if they are switched on.

    Returns notices about what could not be done: a check is worth more than its metrics.
    """
    if not MEASUREMENTS.exists():
        return ()
    try:
        with only_one(_LOCK, _LOCK_SECONDS):
            known = add_runs(_read(), runs)
            problems = _remembered(known)
            text, unread = _text(known, node, now)
            return tuple(map(str, [*problems, *unread, *_written(known.folder, text)]))
    except EngineError as error:
        return error.sentences


def remove_metrics(*, test: bool = False) -> MetricsResult:
    """Remove the file of metrics, and what was remembered for it. It needs no tables.

    Raises ``EngineError`` if another run holds the lock for too long.
    """
    with only_one(_LOCK, _LOCK_SECONDS):
        known, notices = _begin_anew_if_broken()
        changes = dict(_changes(known.folder, None))
        if test:
            return MetricsResult(changes, notices=notices)
        return MetricsResult(changes, tuple(_switch_off(known)), notices)


def check_run(
    check: str,
    began: float,
    took: float,
    found: Report | None,
    tables: Tables | None,
    node: str,
) -> CheckRun:
    """Put together what one run of a check found.

    found
        ``None`` if it could not check.
    tables
        The tables with the rows of both roles, where the check had them.
    """
    if found is None:
        return CheckRun(check, began, took)
    counts = Counter(each.status for each in found.checks)
    checked = None if tables is None else _checked(tables, node)
    # Only the check that compares the layers judges promises as well.
    tests = None
    if found.in_step is not None:
        tests = Counter(map(_result, found.promises))
    return CheckRun(check, began, took, counts, checked, found.in_step, tests)


def _result(promise: PromiseHere) -> str:
    """The result of a promise as its label has it."""
    if promise.value is PromiseValue.BROKEN and promise.is_warning:
        return WARNED
    return promise.value.value.replace(" ", "_")


def _checked(tables: Tables, node: str) -> CheckedTables:
    peers = tuple(each.name for each in tables.nodes if each.name != node)
    return CheckedTables(digest_of(tables), peers)


# -- what is remembered ---------------------------------------------------------------------------


def _read() -> Measurements:
    try:
        return read_saved_form(MEASUREMENTS.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Measurements()
    except (OSError, ValueError) as error:
        raise EngineError([_unreadable(error)]) from error


def _begin_anew_if_broken() -> tuple[Measurements, tuple[str, ...]]:
    try:
        return _read(), ()
    except EngineError as error:
        return Measurements(), error.sentences


def _unreadable(error: Exception) -> Problem:
    return Problem(
        f"{MEASUREMENTS}, which remembers the last checks, cannot be read ({error}), so the "
        "metrics begin anew",
        "state.apply k3s.metrics on this node, then k3sfw.check_ports",
    )


def _remembered(known: Measurements) -> list[Problem]:
    try:
        make_state_folder()
        content = write_saved_form(known).encode("utf-8")
        replace_files({MEASUREMENTS: content}, mode=0o600, folder_mode=0o700)
    except OSError as error:
        return [_unwritable(MEASUREMENTS, error)]
    return []


def _switch_off(known: Measurements) -> Iterator[Problem]:
    if known.folder:
        yield from _removed(Path(known.folder))
    try:
        MEASUREMENTS.unlink(missing_ok=True)
    except OSError as error:
        yield _unwritable(MEASUREMENTS, error)


# -- the file of metrics --------------------------------------------------------------------------


def _changes(former: str, settings: MetricsSettings | None) -> Iterator[tuple[str, str]]:
    """Which files would appear and disappear; a new content is not a change."""
    folder = str(settings.folder) if settings is not None and settings.enabled else ""
    if former and former != folder and (Path(former) / METRICS_FILE).exists():
        yield str(Path(former) / METRICS_FILE), "removed"
    if folder and not (Path(folder) / METRICS_FILE).exists():
        yield str(Path(folder) / METRICS_FILE), "written"


def _written(folder: str, text: str) -> list[Problem]:
    try:
        write_metrics_file(Path(folder), text)
    except FileNotFoundError:
        return [
            Problem(
                f"the metrics are not written: there is no folder {folder}",
                "install node_exporter (on Debian prometheus-node-exporter), or set "
                "k3s:metrics:path to the folder that its textfile collector reads",
            )
        ]
    except OSError as error:
        return [_unwritable(Path(folder) / METRICS_FILE, error)]
    return []


def _removed(folder: Path) -> list[Problem]:
    try:
        remove_metrics_file(folder)
    except OSError as error:
        return [
            Problem(
                f"{folder / METRICS_FILE} cannot be removed ({error.strerror})",
                f"rm {folder / METRICS_FILE}",
            )
        ]
    return []


def _unwritable(path: Path, error: OSError) -> Problem:
    return Problem(
        f"the metrics are not up to date: {path} cannot be written ({error.strerror})",
        "make room on that disk, or make it writable; the next check writes them again",
    )


def _text(known: Measurements, node: MetricsNode, now: float) -> tuple[str, list[Problem]]:
    proofs, unread = read_proofs(int(now))
    state = NodeState(__version__, node.name, node.cluster, node.role, proofs=proofs)
    problems = list(unread)
    try:
        state = _with_changes(state)
    except EngineError as error:
        state = replace(state, last_changes=None)
        problems += error.problems
    return write_exposition(node_families(known, state)), problems


def _with_changes(state: NodeState) -> NodeState:
    """Add what the journal of changes says."""
    waiting = unfinished_now()
    last: dict[str, float] = {}
    for entry in past():  # The newest first.
        last.setdefault(entry.ended, entry.record.at)
    until = waiting.confirm_by if waiting is not None and waiting.waits else 0.0
    return replace(state, last_changes=last, unconfirmed_until=until)
