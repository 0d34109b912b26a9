"""A cluster of any size in one process: what the real functions make of it, and how that grows.

The first steps are those of one node, for each apply and check; the others are the master's, for
the whole cluster. ``tests/unit/test_growth.py`` fails when the work of one of them stops being
proportional to the nodes.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from bench.work import Name
from k3sfw_engine.checks.ports.questions_to_peers import EVERYTHING, questions
from k3sfw_engine.fleet.answers import CheckedCluster
from k3sfw_engine.fleet.asked_of_tables import nodes_named, parse_asked_ports
from k3sfw_engine.fleet.forms.junit import junit
from k3sfw_engine.fleet.forms.prometheus import write_cluster_metrics
from k3sfw_engine.fleet.group import group
from k3sfw_engine.fleet.overview import overview
from k3sfw_engine.fleet.read_answers import read_saved
from k3sfw_engine.fleet.role_matrix import role_matrix
from k3sfw_engine.fleet.tables_difference import TablesDifference
from k3sfw_engine.fleet.who_reaches import who_reaches
from k3sfw_engine.model.firewall_objects import FirewalldObject, Kind
from k3sfw_engine.model.rows import Role, Tables
from k3sfw_engine.model.tables_digest import digest_of
from k3sfw_engine.plan.desired.compute import compute_desired
from k3sfw_engine.plan.desired.desired_objects import Desired
from k3sfw_engine.plan.kernel_drift import KernelRules, kernel_drift
from k3sfw_engine.plan.make_plan import make_plan
from k3sfw_engine.plan.observed import Observed
from k3sfw_engine.plan.promises import judge_promises
from k3sfw_engine.plan.reach import compute_reach
from k3sfw_engine.port_tables.kept_form import tables_as_tree, tables_of_tree
from k3sfw_engine.port_tables.read_pillar import parse_tables
from tests.simulated_fleet import Fault, simulated_fleet

SIZES = (100, 1000, 5000)
RUNS = 3
ROWS = 20
PROMISES = 12
KINDS = ("rejects", "down", "no_listener", "no_egress", "setting", "exposed")

# A step made ready for so many nodes; the call is what is measured.
Ready = Callable[[], object]


def main() -> dict[str, dict[int, float]]:
    """Print and return the milliseconds of each step for each size."""
    took = {
        name: {nodes: milliseconds(make, nodes) for nodes in SIZES} for name, make in STEPS.items()
    }
    print("one process, milliseconds by nodes; growth beside proportional growth, which is 1")
    heads = [f"{nodes} nodes" for nodes in SIZES] + ["growth"]
    print(f"  {'':32}" + "".join(f"{head:>12}" for head in heads))
    for name, by_nodes in took.items():
        figures = "".join(f"{each:12.1f}" for each in by_nodes.values())
        print(f"  {name:32}{figures}{growth(by_nodes):12.2f}")
    return took


def milliseconds(make: Callable[[int], Ready], nodes: int) -> float:
    """The median of some runs, each on data of its own: some of it remembers what it computed."""
    taken = []
    for _run in range(RUNS):
        step = make(nodes)
        began = time.perf_counter()
        step()
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)


def growth(by_nodes: dict[int, float]) -> float:
    """How much faster than the nodes the cost grew, from the second size to the last."""
    _small, one, other = by_nodes
    return by_nodes[other] / by_nodes[one] * one / other


# -- a cluster ------------------------------------------------------------------------------------


def pillar_of(nodes: int) -> dict[str, Any]:
    """Return the pillar of a server, one node of twenty; both families, many rows and promises."""
    rows = {
        f"row{number}": {
            "protocol": "tcp",
            "port": f"{8000 + 20 * number}-{8030 + 20 * number}",
            "source": [["any"], ["server"], ["agent", "admins"], ["clients"]][number % 4],
            "destination": ["any", "server", "agent"][number % 3],
        }
        for number in range(ROWS)
    }
    tests = {
        f"test{number}": {
            "from": "anyone",
            "except": ["any", "pods", "services", "admins"],
            "to": ["any", "server", "agent"][number % 3],
            "deny": [f"tcp/{8000 + 20 * number}-{8100 + 20 * number}", "udp/8472"],
        }
        for number in range(PROMISES)
    }
    pods = {"protocol": "any", "source": ["pods", "services"], "destination": "any"}
    return {
        "ports": {"cluster": {"pods": pods, **rows}, "manager": {}},
        "peer_ports": {},
        "groups": {"admins": [f"198.51.100.{host}" for host in range(0, 250, 2)]},
        "tests": tests,
        "nodes": {
            Name(f"n{number}"): {
                "role": "agent" if number % 20 else "server",
                "addresses": [
                    f"172.{16 + number // 65536}.{number // 256 % 256}.{number % 256}",
                    f"2001:db8::{number + 1:x}",
                ],
            }
            for number in range(nodes)
        },
    }


def tables_of(nodes: int) -> Tables:
    """Return the tables of a server in a cluster of so many nodes."""
    return _parsed(pillar_of(nodes))


def changed(nodes: int) -> Tables:
    """Return tables of which a node left, some rows and a group changed."""
    pillar = pillar_of(nodes)
    del pillar["nodes"][f"n{nodes - 1}"]
    rows = pillar["ports"]["cluster"]
    for number in range(0, ROWS, 7):
        rows[f"row{number}"]["source"] = ["agent", "clients"][number % 2]
    del rows["row5"]
    pillar["groups"]["admins"] = pillar["groups"]["admins"][1:]
    return _parsed(pillar)


@cache
def answers_of(nodes: int) -> CheckedCluster:
    """Return the answers of a cluster in which one of ten nodes has a fault, of all kinds.

    Each node asked and proved a few peers: what it sends has a limit, so it does not grow.
    """
    width = len(str(nodes))
    faults = [
        Fault(KINDS[at % len(KINDS)], f"a{10 * at + 7:0{width}}", _port(KINDS[at % len(KINDS)]))
        for at in range(nodes // 10)
    ]
    return simulated_fleet(nodes, faults, peers=8, proofs=20, name_of=Name)


def _parsed(pillar: dict[str, Any]) -> Tables:
    return parse_tables(pillar, minion_id="n0", role="server")


def _port(kind: str) -> str:
    return "9500" if kind in ("rejects", "no_listener", "exposed") else ""


# -- the steps of one node ------------------------------------------------------------------------


def _read_pillar(nodes: int) -> Ready:
    pillar = pillar_of(nodes)
    return lambda: _parsed(pillar)


def _desired(nodes: int) -> Ready:
    tables = tables_of(nodes)
    return lambda: compute_desired(tables, Role.SERVER)


def _first_plan(nodes: int) -> Ready:
    wanted = _wanted(nodes)
    return lambda: make_plan(wanted, Observed({}, {}))


def _settled_plan(nodes: int) -> Ready:
    wanted, observed = _wanted(nodes), _settled(nodes)
    return lambda: make_plan(wanted, observed)


def _joined_plan(nodes: int) -> Ready:
    wanted, observed = _wanted(nodes), _settled(nodes - 1)
    return lambda: make_plan(wanted, observed)


def _doubted_plan(nodes: int) -> Ready:
    wanted, observed = _wanted(nodes - 1), _settled(nodes)
    return lambda: make_plan(wanted, observed, narrow=False)


def _reach(nodes: int) -> Ready:
    tables = tables_of(nodes)
    return lambda: compute_reach(tables, (Role.SERVER,))


def _promises(nodes: int) -> Ready:
    tables = tables_of(nodes)
    reach = compute_reach(tables, (Role.SERVER,))
    return lambda: judge_promises(tables, reach)


def _kept_tables(nodes: int) -> Ready:
    tables = tables_of(nodes)
    return lambda: tables_of_tree(json.loads(json.dumps(tables_as_tree(tables))))


def _questions(nodes: int) -> Ready:
    tables = tables_of(nodes)
    own, *others = tables.nodes
    return lambda: questions(tables, own, others, None, EVERYTHING, 0)


def _wanted(nodes: int) -> Desired:
    return compute_desired(tables_of(nodes), Role.SERVER)


def _settled(nodes: int) -> Observed:
    """What a node has after an apply, in every layer."""
    objects = {key: _countable(each) for key, each in _wanted(nodes).objects.items()}
    facts = kernel_drift(KernelRules(), objects).missing
    ipsets = {each.name: each for each in objects.values() if each.kind is Kind.IPSET}
    kernel = KernelRules(
        frozenset(fact for fact in facts if fact.kind is not Kind.IPSET),
        {name: frozenset(each.items("entries")) for name, each in ipsets.items()},
    )
    return Observed(dict(objects), dict(objects), kernel=kernel)


def _countable(each: FirewalldObject) -> FirewalldObject:
    if each.kind is not Kind.IPSET:
        return each
    return each.with_settings({"entries": tuple(map(Name, each.items("entries")))})


# -- the steps of the master ----------------------------------------------------------------------


def _difference(nodes: int) -> Ready:
    old, new = tables_of(nodes), changed(nodes)
    return lambda: TablesDifference(old, new).as_plain()


def _matrix(nodes: int) -> Ready:
    tables = tables_of(nodes)
    return lambda: role_matrix(tables)


def _who_reaches(nodes: int) -> Ready:
    tables = tables_of(nodes)
    return lambda: who_reaches(
        tables, nodes_named("any", tables), parse_asked_ports("8000-9000"), {}
    )


def _digest(nodes: int) -> Ready:
    tables = tables_of(nodes)
    return lambda: digest_of(tables)


def _of_answers(step: Callable[[CheckedCluster], object]) -> Callable[[int], Ready]:
    def make(nodes: int) -> Ready:
        cluster = answers_of(nodes)
        return lambda: step(cluster)

    return make


def _read_answers(nodes: int) -> Ready:
    text = json.dumps(answers_of(nodes).as_dict())
    return lambda: read_saved(text)


STEPS: dict[str, Callable[[int], Ready]] = {
    "node: pillar into tables": _read_pillar,
    "node: digest of the tables": _digest,
    "node: tables kept and read again": _kept_tables,
    "node: desired objects": _desired,
    "node: plan of a first apply": _first_plan,
    "node: plan with nothing to do": _settled_plan,
    "node: plan of one node more": _joined_plan,
    "node: plan that doubts the list": _doubted_plan,
    "node: reach": _reach,
    "node: promises": _promises,
    "node: questions to all peers": _questions,
    "master: difference of two pillars": _difference,
    "master: who reaches a port": _who_reaches,
    "master: matrix of roles": _matrix,
    "master: answers read": _read_answers,
    "master: answers grouped": _of_answers(group),
    "master: verdict on the cluster": _of_answers(overview),
    "master: JUnit": _of_answers(junit),
    "master: Prometheus": _of_answers(write_cluster_metrics),
}

if __name__ == "__main__":
    main()
