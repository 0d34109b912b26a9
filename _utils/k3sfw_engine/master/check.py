"""The function check: ask all nodes what their checks find, and judge the whole cluster."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from k3sfw_engine.checks.report import RETCODES
from k3sfw_engine.checks.verdicts import Severity
from k3sfw_engine.cluster_pillar.cluster_tables import ClusterTables
from k3sfw_engine.cluster_pillar.named_files import full_path, refuse_unwritable, write_file
from k3sfw_engine.errors import EngineError, Problem
from k3sfw_engine.fleet.answers import CheckedCluster, CheckedNode, ListedMember, NodePromise
from k3sfw_engine.fleet.believed import RunTimes, believed
from k3sfw_engine.fleet.forms.junit import junit
from k3sfw_engine.fleet.forms.prometheus import write_cluster_metrics
from k3sfw_engine.fleet.outside_packets import (
    judge_outside,
    not_asked,
    outside_packets,
    silent_outsider,
)
from k3sfw_engine.fleet.overview import overview
from k3sfw_engine.fleet.read_answers import UnusableAnswers, read_node, unusable
from k3sfw_engine.fleet.returned import Returned
from k3sfw_engine.master.defaults import NODES_AT_ONCE, TELL_AFTER
from k3sfw_engine.model.rows import Tables

# What each node is asked.
_FUNCTION = "k3sfw.check"
# What salt-run exits with if a file is not there: not better than a check that was not possible.
_NOT_WRITTEN = RETCODES[Severity.UNKNOWN]
_WORST = [RETCODES[each] for each in Severity]


@dataclass(frozen=True)
class NodesBySalt:
    """What only Salt can do for a question to nodes.

    accepted
        The minion ids whose keys the master has accepted.
    ask
        Call a function on these minions; an iterator over what each returned, until no more come.
    tell
        Show the operator how far the run is.
    clock
        The seconds since 1970.
    """

    accepted: Callable[[], Collection[str]]
    ask: Callable[[Sequence[str], str, Mapping[str, Any]], Iterator[tuple[str, object]]]
    tell: Callable[[str], None]
    clock: Callable[[], float]


@dataclass(frozen=True)
class WrittenForms:
    """The files to write; empty for none."""

    save: str = ""
    junit: str = ""
    prometheus: str = ""

    def paths(self) -> dict[str, Path]:
        """The files by their arguments. Raises ``EngineError`` if one cannot be a file."""
        typed = vars(self).items()
        found = {argument: full_path(path) for argument, path in typed if path}
        refuse_unwritable(found)
        return found


class UnreadableAnswer(EngineError):
    """A minion returned what Salt itself cannot read, and with it others are lost."""


def check(ask: Callable[[], CheckedCluster], forms: WrittenForms = WrittenForms()) -> Returned:
    """Ask a cluster, judge its answers, and write them in these forms.

    Raises ``EngineError`` with every file that cannot be written, before any node is asked. If one
    cannot be written after all, the verdict stands, and is not better than UNKNOWN.
    """
    paths = forms.paths()
    cluster = ask()
    found = overview(cluster)
    written, problems = write_forms(cluster, paths)
    return Returned(
        {
            "view": "check",
            "cluster": cluster.cluster,
            "at": cluster.at,
            "written": written,
            "unwritten": [str(each) for each in problems],
            **found.as_dict(),
        },
        found.retcode if not problems else max(found.retcode, _NOT_WRITTEN, key=_WORST.index),
    )


def ask_cluster(
    found: ClusterTables, salt: NodesBySalt, version: str, peers: int | str = 8
) -> CheckedCluster:
    """Ask every node of the tables for its checks, some of them at once.

    peers
        How many peers each node asks, or ``all``.
    """
    nodes = {
        node.name: ListedMember(node.role.value, tuple(map(str, node.addresses)))
        for node in found.tables.nodes
    }
    accepted = set(salt.accepted())
    silent = {name: _not_accepted(name) for name in nodes if name not in accepted}
    began = int(salt.clock())
    raw = _asked(sorted(nodes.keys() & accepted), salt, {"peers": peers})
    times = RunTimes(began, int(salt.clock()))
    answers: dict[str, CheckedNode] = {}
    for name in nodes:
        if name in silent:
            continue
        try:
            if name in raw:
                answers[name] = believed(read_answer(raw[name], name, nodes), found.tables, times)
            else:
                silent[name] = _no_answer(name)
        except UnusableAnswers as error:
            silent[name] = unusable(error)
        except EngineError as error:
            silent[name] = "; ".join(error.sentences)
    return CheckedCluster(
        cluster=found.tables.cluster,
        at=times.ended,
        version=version,
        tables=found.tree,
        nodes=nodes,
        answers=answers,
        silent=silent,
        outside=_ask_outside(found.tables, salt, accepted),
    )


def _ask_outside(
    tables: Tables, salt: NodesBySalt, accepted: Collection[str]
) -> dict[str, dict[str, NodePromise]]:
    """Ask the minions outside of the cluster that promises name."""
    found: dict[str, dict[str, NodePromise]] = {}
    for minion, packets in outside_packets(tables, int(salt.clock() // 60)).items():
        raw: dict[str, object] = {}
        if minion in accepted:
            options = {"packets": list(map(str, packets))}
            with suppress(UnreadableAnswer):
                raw = dict(salt.ask([minion], "k3sfw.ask", options))
        if minion in raw:
            found[minion] = judge_outside(minion, packets, raw[minion], tables)
        else:
            found[minion] = not_asked(packets, silent_outsider(minion))
    return found


def read_answer(raw: object, name: str, known: Collection[str]) -> CheckedNode:
    """Read what a minion returned, which is a sentence where it could not check anything."""
    if isinstance(raw, UnreadableAnswer):
        raise raw
    if isinstance(raw, Mapping) and isinstance(raw.get(_FUNCTION), str):
        # Salt's answer if only longer names are known: their documentation, and this.
        raw = raw[_FUNCTION]
    if isinstance(raw, str):
        text = raw.strip().splitlines()
        raise EngineError([_sentence_of_node((text[-1] if text else "").strip(), name)])
    if isinstance(raw, Mapping) and "format" not in raw and isinstance(raw.get("problems"), list):
        # Its own pillar was refused, or could not be fetched.
        reasons = [each[:1000] for each in raw["problems"][:5] if isinstance(each, str)]
        summary = raw.get("summary")
        what = summary[:200] if isinstance(summary, str) else "it could not check anything"
        raise EngineError([f"{what}: {'; '.join(reasons)}"])
    return read_node(raw, name, known)


def write_forms(
    cluster: CheckedCluster, paths: Mapping[str, Path]
) -> tuple[list[str], list[Problem]]:
    """Write the answers in these forms, each file as a whole; return the paths, and what failed."""
    written: list[str] = []
    problems: list[Problem] = []
    for argument, path in paths.items():
        try:
            write_file(path, _FORMS[argument](cluster))
            written.append(str(path))
        except EngineError as error:
            problems += error.problems
    return written, problems


def _saved(cluster: CheckedCluster) -> bytes:
    saved = json.dumps(cluster.as_dict(), separators=(",", ":"), sort_keys=True)
    return f"{saved}\n".encode()


_FORMS: Mapping[str, Callable[[CheckedCluster], bytes]] = {
    "save": _saved,
    "junit": junit,
    "prometheus": lambda cluster: write_cluster_metrics(cluster).encode(),
}


def _asked(
    names: Sequence[str], salt: NodesBySalt, options: Mapping[str, Any]
) -> dict[str, object]:
    found: dict[str, object] = {}
    told = salt.clock()
    for slice_ in _slices(names):
        for name, answer in _each_answer(slice_, salt, options):
            found[name] = answer
            if salt.clock() - told >= TELL_AFTER:
                told = salt.clock()
                salt.tell(f"{len(found)} of {len(names)} nodes answered")
    return found


def _each_answer(
    names: Sequence[str], salt: NodesBySalt, options: Mapping[str, Any]
) -> Iterator[tuple[str, object]]:
    """What each of these returned; in place of what cannot be read, the reason.

    Such a return ends the whole question, and does not say of which one it is. Those not heard
    are asked again by halves.
    """
    heard = set()
    try:
        for name, answer in salt.ask(names, _FUNCTION, options):
            # Of a minion that was not asked, nothing is believed.
            if name in names:
                heard.add(name)
                yield name, answer
    except UnreadableAnswer as error:
        left = [name for name in names if name not in heard]
        if len(left) == 1:
            yield left[0], error
        else:
            middle = len(left) // 2
            for half in filter(None, (left[:middle], left[middle:])):
                yield from _each_answer(half, salt, options)


def _slices(names: Sequence[str]) -> Iterable[Sequence[str]]:
    return [names[at : at + NODES_AT_ONCE] for at in range(0, len(names), NODES_AT_ONCE)]


def _not_accepted(name: str) -> str:
    return f"the master has accepted no key of a minion {name}"


def _sentence_of_node(said: str, name: str) -> str:
    # What Salt says of a function that it does not know, or of a module that refuses to load.
    if said == f"'{_FUNCTION}' is not available.":
        return (
            f"it has no {_FUNCTION}: its k3sfw is older than the master's, or not there. Fix: salt "
            f"{name} saltutil.sync_all"
        )
    if said.startswith("'k3sfw' __virtual__ returned False: "):
        return said.partition(": ")[2][:1000]
    return f"it answered {said[:200]!r}"


def _no_answer(name: str) -> str:
    return "its minion did not answer"
