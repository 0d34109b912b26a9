"""Answers of a cluster of any size, as its nodes would give them, with chosen faults.

For tests of what the master makes of answers, and for benchmarks. The rows are some of the shipped
ones.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from k3sfw_engine.checks.verdicts import Check, Severity, Status
from k3sfw_engine.fleet.answers import (
    AskedPeers,
    CheckedCluster,
    CheckedNode,
    CheckedPart,
    ListedMember,
    NodePromise,
    asked_peers,
    problems_of,
)
from k3sfw_engine.fleet.defaults import PROBLEMS_SENT, PROOFS_SENT

NOW = 1_780_000_000
VERSION = "0.3.0"
CLUSTER = "production"
FREE = "a port that no row names"

# protocol, port, who gets in, who is opened, description
ROWS = (
    ("tcp", "2379", "server", "server", "Etcd Service"),
    ("tcp", "2380", "server", "server", "Etcd Service"),
    ("tcp", "6443", "any", "server", "Kubernetes API"),
    ("udp", "8472", "any", "any", "Flannel VXLAN"),
    ("tcp", "10250", "any", "any", "Kubelet metrics"),
    ("tcp", "5001", "any", "any", "Embedded registry"),
    ("tcp", "80", "clients", "any", "HTTP"),
    ("tcp", "443", "clients", "any", "HTTPS"),
    ("tcp", "9500", "any", "any", "Longhorn"),
)
TABLES = {
    "cluster": CLUSTER,
    "flannel_backend": "vxlan",
    "pod_cidrs": ["10.42.0.0/16"],
    "service_cidrs": ["10.43.0.0/16"],
    "groups": {"clients": ["0.0.0.0/0", "::/0"]},
    "ports": {
        "cluster": {
            f"row_{port}": {
                "protocol": protocol,
                "port": int(port),
                "source": source,
                "destination": to,
                "description": text,
            }
            for protocol, port, source, to, text in ROWS
        },
        "manager": {},
    },
}
OVERLAY = "8472"


@dataclass(frozen=True)
class Fault:
    """One fault of the simulated cluster.

    kind
        ``rejects``: the node's own rules reject the port. ``down``: nothing reaches the node, and
        it is silent. ``no_egress``: the node reaches no peer. ``no_listener``: nothing listens.
        ``no_entry``: its overlay has no entry for ``peer``. ``exposed``: it lets the port in.
        ``silent``: it does not answer the master. ``other_tables``: its pillar says something else.
        ``setting``: a sysctl of it is wrong. ``behind``: it is in another network than the nodes
        that are not.
    """

    kind: str
    node: str
    port: str = ""
    peer: str = ""


@dataclass(frozen=True)
class _World:
    roles: Mapping[str, str]
    faults: frozenset[Fault] = field(default_factory=frozenset)

    def has(self, kind, node, port="", peer=""):
        return Fault(kind, node, port, peer) in self.faults


def simulated_fleet(
    nodes: int = 5,
    faults: Iterable[Fault] = (),
    peers: int | None = 8,
    servers: int = 3,
    proofs: int = PROOFS_SENT,
    name_of: Callable[[str], str] = str,
) -> CheckedCluster:
    """The answers of so many nodes, of which each asked the next ``peers`` in the ring.

    proofs
        How many proofs each node sends at most.
    name_of
        Makes the name of a node from its text, such as one that counts comparisons.
    """
    width = len(str(nodes))
    names = [name_of(f"s{i}") for i in range(1, min(servers, nodes) + 1)]
    names += [name_of(f"a{i:0{max(width, 1)}}") for i in range(1, nodes - len(names) + 1)]
    world = _World(
        {name: "server" if name[0] == "s" else "agent" for name in names}, frozenset(faults)
    )
    ring = sorted(names)
    silent = {
        name: "it did not answer within 60 seconds"
        for name in names
        if world.has("silent", name) or world.has("down", name)
    }
    answers = {
        name: _answer(world, name, ring, peers, proofs)
        for name in sorted(names)
        if name not in silent
    }
    addresses = {name: (str(_address(at)),) for at, name in enumerate(names)}
    return CheckedCluster(
        cluster=CLUSTER,
        at=NOW,
        version=VERSION,
        tables=TABLES,
        nodes={name: ListedMember(world.roles[name], addresses[name]) for name in sorted(names)},
        answers=answers,
        silent=silent,
    )


def _address(number: int) -> str:
    return f"10.{100 + number // 62500}.{number // 250 % 250}.{number % 250 + 1}"


def _answer(world: _World, own: str, ring: list[str], count: int | None, sent: int) -> CheckedNode:
    at = ring.index(own)
    others = ring[at + 1 :] + ring[:at]
    asked = others if count is None else others[:count]
    checks = [each for peer in asked for each in _questions(world, own, peer)]
    layers = list(_own_rows(world, own))
    routes = list(_routes(world, own, asked))
    rounds = math.ceil(len(others) / max(len(asked), 1))
    proofs = {
        peer: NOW - 3 - 60 * (place * rounds // max(len(others), 1))
        for place, peer in enumerate(others)
    }
    oldest = sorted(others, key=lambda peer: (proofs[peer], peer))[:sent]
    return CheckedNode(
        node=own,
        at=NOW - 3,
        took=2.5,
        role=world.roles[own],
        version=VERSION,
        tables="feedfeed" if world.has("other_tables", own) else "c0ffee00",
        parts={
            "ports": _part([*layers, *checks]),
            "routes": _part(routes),
            "zones": _part([Check(own, own, "interface eth0", Status.OK, "in zone public")]),
        },
        asked=asked_peers(checks, own, asked, FREE) if asked else AskedPeers(),
        proofs={peer: proofs[peer] for peer in oldest},
        proofs_left_off=len(proofs) - len(oldest),
        promises={"etcd_is_for_servers": NodePromise("kept", packets=len(asked))},
    )


def _part(checks: list[Check]) -> CheckedPart:
    counts = Counter(each.status for each in checks)
    problems = problems_of(checks)
    found = {each.status.severity for each in checks}
    worst = max(found, key=list(Severity).index, default=Severity.OK)
    return CheckedPart(
        status=worst,
        summary=f"{counts[Status.OK]} of {len(checks)} checks ok",
        counts={status: counts[status] for status in Status if status in counts},
        problems=problems[:PROBLEMS_SENT],
        left_off=max(0, len(problems) - PROBLEMS_SENT),
    )


def _gets_in(world: _World, source: str, from_node: str) -> bool:
    return source in ("any", "clients") or source == world.roles[from_node]


def _questions(world, own, peer):
    for protocol, port, source, to, text in (*ROWS, ("tcp", "23456", "", "any", FREE)):
        if to not in ("any", world.roles[peer]):
            continue
        is_open = bool(source) and _gets_in(world, source, own)
        status, by, evidence, hint = _verdict(world, own, peer, port, is_open)
        yield Check(
            source=own,
            to=peer,
            description=text,
            status=status,
            evidence=evidence,
            address="192.0.2.1",
            protocol=protocol,
            port=port,
            expect="open" if is_open else "closed",
            by=by,
            fix=hint,
        )


def _verdict(world, own, peer, port, is_open):
    if world.has("no_egress", own):
        return Status.NO_ANSWER, peer, "nothing came back; it answers on no port", ""
    if world.has("down", peer) or world.has("behind", peer) != world.has("behind", own):
        evidence = "it does not answer ARP on the link: it is down or off the network"
        return Status.HOST_DOWN, peer, evidence, f"start {peer} and its network"
    if not is_open:
        if world.has("exposed", peer, port):
            return Status.EXPOSED, peer, "reachable although no row allows it", ""
        return Status.OK, "", "rejected, as it should be", ""
    if world.has("rejects", peer, port):
        fix = f"salt {peer} state.apply k3s.firewall"
        return Status.BLOCKED, peer, f"rejected by {peer} itself (firewalld)", fix
    if world.has("no_listener", peer, port):
        fix = "start the service there, or switch its row off (enabled: false)"
        evidence = "the packet arrives, but nothing listens there"
        return Status.NO_LISTENER, peer, evidence, fix
    if port == OVERLAY and world.has("no_entry", own, peer=peer):
        return Status.NO_ROUTE, own, f"the overlay of {own} has no entry for {peer}", ""
    if port == OVERLAY and world.has("no_entry", peer, peer=own):
        evidence = f"nothing comes back through the overlay, and {peer} rejects no VXLAN"
        return Status.NO_ANSWER, peer, evidence, ""
    return Status.OK, "", "connected", ""


def _own_rows(world, own):
    for protocol, port, source, to, text in ROWS:
        if to not in ("any", world.roles[own]):
            continue
        status, evidence, fix = Status.OK, "in force in every layer", ""
        if world.has("rejects", own, port):
            status, fix = Status.BLOCKED, f"salt {own} state.apply k3s.firewall"
            evidence = "runtime: policy k3s-rows lacks rich_rules"
        elif world.has("no_listener", own, port):
            status, fix = Status.NO_LISTENER, "start the service"
            evidence = "in force in every layer, but nothing listens on this node"
        yield Check(source, own, text, status, evidence, protocol=protocol, port=port, fix=fix)


def _routes(world, own, asked):
    for peer in asked:
        status, evidence, fix = Status.OK, "an echo came back", ""
        if world.has("down", peer) or world.has("behind", peer) != world.has("behind", own):
            status, evidence = Status.HOST_DOWN, "it does not answer ARP on the link"
        elif world.has("no_egress", own):
            status, evidence = Status.NO_ANSWER, "no echo came back"
        yield Check(own, peer, "node", status, evidence, address="192.0.2.1", by=peer)
        status, evidence, fix = Status.OK, "an echo came back", ""
        if world.has("no_entry", own, peer=peer):
            status = Status.NO_NEIGHBOUR
            evidence = "frames for 02:00:00:00:00:03 have no forwarding entry"
            fix = f"salt {own} cmd.run 'bridge fdb replace 02:00:00:00:00:03 dev flannel.1'"
        elif world.has("no_entry", peer, peer=own):
            status, evidence = Status.NO_ANSWER, "no echo came back through the overlay"
        if not world.has("down", peer) and not world.has("no_egress", own):
            yield Check(
                own, peer, "pods", status, evidence, address="10.42.3.0/24", fix=fix, by=own
            )
    if world.has("setting", own):
        yield Check(
            own,
            own,
            "net.ipv4.ip_forward",
            Status.BAD_SETTING,
            "is 0 and must be 1",
            by=own,
            fix=f"salt {own} state.apply k3s.routes",
            sls="k3s.routes",
        )
