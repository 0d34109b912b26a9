"""The function check: ask all nodes what their checks find, and judge the whole cluster."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from k3sfw_engine.cluster_pillar.cluster_tables import ClusterTables
from k3sfw_engine.cluster_pillar.named_files import full_path, write_file
from k3sfw_engine.errors import EngineError
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


def check(cluster: CheckedCluster, forms: WrittenForms = WrittenForms()) -> Returned:
    """Judge the answers of a cluster, and write them in these forms.

    Raises ``EngineError`` if a file cannot be written.
    """
    found = overview(cluster)
    written = write_forms(cluster, forms)
    return Returned(
        {
            "view": "check",
            "cluster": cluster.cluster,
            "at": cluster.at,
            "written": written,
            **found.as_dict(),
        },
        found.retcode,
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
            raw = dict(salt.ask([minion], "k3sfw.ask", options))
        if minion in raw:
            found[minion] = judge_outside(minion, packets, raw[minion], tables)
        else:
            found[minion] = not_asked(packets, silent_outsider(minion))
    return found


def read_answer(raw: object, name: str, known: Collection[str]) -> CheckedNode:
    """Read what a minion returned, which is a sentence where it could not check anything."""
    if isinstance(raw, str):
        text = raw.strip().splitlines()
        raise EngineError([f"it answered {(text[-1] if text else '')[:200]!r}"])
    if isinstance(raw, Mapping) and "format" not in raw and isinstance(raw.get("problems"), list):
        # Its own pillar was refused, or could not be fetched.
        reasons = [each[:1000] for each in raw["problems"][:5] if isinstance(each, str)]
        summary = raw.get("summary")
        what = summary[:200] if isinstance(summary, str) else "it could not check anything"
        raise EngineError([f"{what}: {'; '.join(reasons)}"])
    return read_node(raw, name, known)


def write_forms(cluster: CheckedCluster, forms: WrittenForms) -> list[str]:
    """Write the answers in these forms, each file as a whole; return the paths."""
    made: dict[Path, bytes] = {}
    if forms.save:
        saved = json.dumps(cluster.as_dict(), separators=(",", ":"), sort_keys=True)
        made[full_path(forms.save)] = f"{saved}\n".encode()
    if forms.junit:
        made[full_path(forms.junit)] = junit(cluster)
    if forms.prometheus:
        metrics = write_cluster_metrics(cluster).encode()
        made[full_path(forms.prometheus)] = metrics
    for path, content in made.items():
        write_file(path, content)
    return [str(path) for path in made]


def _asked(
    names: Sequence[str], salt: NodesBySalt, options: Mapping[str, Any]
) -> dict[str, object]:
    found: dict[str, object] = {}
    told = salt.clock()
    for slice_ in _slices(names):
        for name, answer in salt.ask(slice_, "k3sfw.check", options):
            # Of a minion that was not asked, nothing is believed.
            if name in slice_:
                found[name] = answer
            if salt.clock() - told >= TELL_AFTER:
                told = salt.clock()
                salt.tell(f"{len(found)} of {len(names)} nodes answered")
    return found


def _slices(names: Sequence[str]) -> Iterable[Sequence[str]]:
    return [names[at : at + NODES_AT_ONCE] for at in range(0, len(names), NODES_AT_ONCE)]


def _not_accepted(name: str) -> str:
    return f"the master has accepted no key of a minion {name}"


def _no_answer(name: str) -> str:
    return "its minion did not answer"
