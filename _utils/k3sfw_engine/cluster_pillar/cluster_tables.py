"""The tables of the whole cluster, compiled on the master as its minions get them.

The pillar of one server and of one agent is compiled, each with the rows of the other role: all
nodes of a cluster have the same tables, and if these two have not, that is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from k3sfw_engine.cluster_pillar.lines_of_pillar import lines_of_pillar
from k3sfw_engine.cluster_pillar.pillar_source import PillarPlace, PillarSource, opened
from k3sfw_engine.errors import BadTables, EngineError, Fault, Problem
from k3sfw_engine.model.rows import ROOT, Role, Tables
from k3sfw_engine.port_tables.merge_pillar import SOURCES, merge_pillar
from k3sfw_engine.port_tables.read_pillar import parse_tables

Pillar = Mapping[str, Any]
# With this grain a pillar has the rows of the other role, too (pillar/k3s/ports.sls).
_PEER_PORTS = {"k3sfw_asks_for_peer_ports": True}
# The master may remember the grain of a minion.
_OWN_ROWS = {"k3sfw_asks_for_peer_ports": False}
# In the name of no minion the pillar is compiled where the site pins its nodes and none is known.
_NO_MINION = "k3sfw-preview"
# A minion may claim a role that the site's pin contradicts, and then its own pillar is refused.
_CLAIMANTS = 5


@dataclass(frozen=True)
class MasterPillar:
    """What only Salt can do for the pillar.

    grains
        The cached grains of every accepted minion that has ``k3s_role``: its ``k3s_`` grains.
    compile
        Compile the pillar of a minion with these grains besides its own, in plain types.
    roots
        The pillar roots by environment.
    has_other_pillars
        Whether there are external pillars.
    git_pillars
        Those that come from git, by their branch and address.
    """

    grains: Callable[[], Mapping[str, Mapping[str, Any]]]
    compile: Callable[[str, Mapping[str, Any], PillarPlace], Pillar]
    roots: Mapping[str, Sequence[str]]
    has_other_pillars: bool = False
    git_pillars: Sequence[str] = ()


@dataclass(frozen=True)
class ClusterTables:
    """The tables of the cluster.

    source
        Where they come from, as the operator typed it.
    minion
        The node that the pillar was compiled for.
    notes
        What is doubtful about them.
    lines
        Where a row, group or promise stands in the files, by its pillar path, where that is known.
    tree
        What the pillar of that node says below ``k3s``.
    """

    tables: Tables
    source: str
    minion: str
    notes: tuple[str, ...] = ()
    lines: Mapping[str, str] = field(default_factory=dict)
    tree: Mapping[str, Any] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """What these tables are, in one sentence."""
        roles = [node.role for node in self.tables.nodes]
        many = ", ".join(_count(roles.count(role), role.value) for role in Role)
        rows = _count(len(self.tables.every_row), "row")
        return (
            f"Cluster {self.tables.cluster}: {rows} of {self.source} for {many} "
            f"(the pillar of {self.minion})."
        )


def read_cluster_tables(
    pillar: MasterPillar, source: PillarSource, minion: str = "", cluster: str = ""
) -> ClusterTables:
    """Compile and read the tables of a source.

    minion
        The node whose pillar is read; by default the first server and the first agent.
    cluster
        The cluster, where the master has nodes of several.

    Raises ``BadTables`` with every fault of the pillar, and ``EngineError`` if it cannot be read.
    """
    if source.is_asked_of_nodes:
        raise EngineError(
            [
                Problem(
                    f"{source} is what nodes answer, and can only be compared with",
                    "give it as old= of k3sfw.diff, and here an environment, ref:… or a folder",
                )
            ]
        )
    chosen = _chosen(pillar.grains(), minion, cluster)
    with opened(source, pillar.roots, pillar.has_other_pillars) as place:
        beside = list(_beside(pillar, source, place))
        try:
            chosen = chosen or _pinned(pillar, place, source, cluster)
            read = [_read_one_of(pillar, nodes, place) for nodes in chosen]
        except EngineError as error:
            error.append_notes(beside)
            raise
        roots = pillar.roots if place.roots is None else place.roots
        lines = lines_of_pillar(roots.get(place.environment or "base", ()))
    (name, tables, tree), *others = read
    notes = [*beside, *tables.notices, *tables.unsure]
    for other, its_tables, _its_tree in others:
        notes += _contradictions(name, tables, other, its_tables)
    return ClusterTables(tables, str(source), name, tuple(dict.fromkeys(notes)), lines, tree)


def _beside(pillar: MasterPillar, source: PillarSource, place: PillarPlace) -> Iterator[str]:
    """What a source in place of pillar roots leaves out, and what it leaves as it is."""
    if place.roots is None:
        return
    if pillar.git_pillars:
        yield f"left out, as {source} is in its place: git pillar {', '.join(pillar.git_pillars)}"
    same = sorted(
        name
        for name, roots in place.roots.items()
        if list(roots) == list(pillar.roots.get(name, ()))
    )
    if same:
        yield f"as the master has it, beside {source}: pillar environment {', '.join(same)}"


class _Candidate(NamedTuple):
    """A node to compile for, and the grains to add to those in the cache."""

    name: str
    role: str
    grains: Mapping[str, Any]


def _chosen(
    grains: Mapping[str, Mapping[str, Any]], minion: str, cluster: str
) -> list[list[_Candidate]]:
    """The servers to compile for, of which one will do, and the agents; no list is empty."""
    if minion:
        if minion not in grains:
            raise EngineError([_unknown_minion(minion, grains)])
        return [[_Candidate(minion, _role(grains[minion]), _PEER_PORTS)]]
    clusters = sorted({_cluster(each) for each in grains.values()})
    if cluster and grains and cluster not in clusters:
        raise EngineError(
            [
                Problem(
                    f"the master knows no node of cluster {cluster}",
                    f"give cluster={' or cluster='.join(clusters)}",
                )
            ]
        )
    if len(clusters) > 1 and not cluster:
        raise EngineError(
            [
                Problem(
                    f"the master has nodes of {len(clusters)} clusters: {', '.join(clusters)}",
                    f"give one of them, such as cluster={clusters[0]}",
                )
            ]
        )
    members = {name: each for name, each in sorted(grains.items()) if _is_in(each, cluster)}
    by_role = (
        [
            _Candidate(name, role.value, _PEER_PORTS)
            for name, each in members.items()
            if _role(each) == role.value
        ]
        for role in Role
    )
    return [nodes for nodes in by_role if nodes]


def _is_in(grains: Mapping[str, Any], cluster: str) -> bool:
    return not cluster or _cluster(grains) == cluster


def _cluster(grains: Mapping[str, Any]) -> str:
    return str(grains.get("k3s_cluster", "default"))


def _role(grains: Mapping[str, Any]) -> str:
    return str(grains.get("k3s_role", "")).lower()


def _unknown_minion(minion: str, known: Iterable[str]) -> Problem:
    names = ", ".join(sorted(known)) or "none"
    return Problem(
        f"minion={minion}: the master's grains cache has no K3s node of that name (it has {names})",
        f"salt {minion} saltutil.refresh_grains",
    )


def _pinned(
    pillar: MasterPillar, place: PillarPlace, source: PillarSource, cluster: str
) -> list[list[_Candidate]]:
    """The nodes that the site pins: enough where no minion has been heard, as in a CI."""
    grains: dict[str, Any] = {"k3s_role": "server", **_PEER_PORTS}
    if cluster:
        grains["k3s_cluster"] = cluster
    tree = _tree(pillar, _NO_MINION, grains, place)
    nodes = tree.get("nodes") if isinstance(tree, Mapping) else None
    pins = nodes if isinstance(nodes, Mapping) else {}
    by_role = (
        [
            _Candidate(str(name), role.value, {**grains, "k3s_role": role.value})
            for name, node in sorted(pins.items(), key=lambda each: str(each[0]))
            if isinstance(node, Mapping) and _role({"k3s_role": node.get("role")}) == role.value
        ]
        for role in Role
    )
    pinned = [nodes for nodes in by_role if nodes]
    if pinned:
        return pinned
    raise EngineError(
        [
            Problem(
                "no node is known: this master has no cached grains of an accepted minion with "
                f"k3s_role, and {source} pins none below k3s:nodes",
                "salt '*' saltutil.refresh_grains",
            )
        ]
    )


def _read_one_of(
    pillar: MasterPillar, nodes: Sequence[_Candidate], place: PillarPlace
) -> tuple[str, Tables, Mapping[str, Any]]:
    """Read the tables by the first node that is what its grains say.

    It must not refuse its own pillar either, which has no rows of the other role.
    """
    for node in nodes[:_CLAIMANTS]:
        try:
            tree = _tree(pillar, node.name, node.grains, place)
            tables = parse_tables(tree, minion_id=node.name, role=node.role)
            own = _tree(pillar, node.name, {**node.grains, **_OWN_ROWS}, place)
            parse_tables(own, minion_id=node.name, role=node.role)
            return node.name, tables, tree if isinstance(tree, Mapping) else {}
        except BadTables as error:
            error.append_notes([f"so the pillar of {node.name} is refused"])
            refused = error
            if {fault.path for fault in error.faults} != {f"{ROOT}:nodes:{node.name}:role"}:
                break
    raise refused


def _tree(
    pillar: MasterPillar, minion: str, grains: Mapping[str, Any], place: PillarPlace
) -> object:
    compiled = pillar.compile(minion, grains, place)
    errors = compiled.get("_errors")
    if errors:
        raise BadTables(
            Fault(f"of {minion}", f"it does not render: {error}", "correct that file on the master")
            for error in (errors if isinstance(errors, (list, tuple)) else [errors])
        )
    return merge_pillar({key: compiled[key] for key in SOURCES if key in compiled})


def _contradictions(name: str, tables: Tables, other: str, its_tables: Tables) -> Iterator[str]:
    """What the tables of two nodes of one cluster do not have in common."""
    ours, theirs = ({row.path: row for row in each.every_row} for each in (tables, its_tables))
    paths = sorted(path for path in {**ours, **theirs} if ours.get(path) != theirs.get(path))
    differing = [f"the row {path}" for path in paths]
    plain = replace(tables, rows=(), peer_rows=None, notices=(), unsure=())
    if plain != replace(its_tables, rows=(), peer_rows=None, notices=(), unsure=()):
        differing.append("settings, groups or nodes")
    if differing:
        yield (
            f"the pillar of {other} differs from that of {name} in {', '.join(differing)}; this is "
            f"judged by that of {name}, and minion={other} judges by the other"
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
