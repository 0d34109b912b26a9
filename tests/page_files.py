"""Pages of simulated clusters, for tests and benchmarks of the page."""

from __future__ import annotations

import dataclasses

from k3sfw_engine.fleet.answers import NodePromise
from k3sfw_engine.fleet.page.build import PageSources, build_page
from tests.paths import ROOT
from tests.simulated_fleet import Fault, simulated_fleet

FOLDER = ROOT / "_utils/k3sfw_engine/fleet/page"
SMALL_FAULTS = (
    Fault("rejects", "a2", "8472"),
    Fault("exposed", "s1", "2379"),
    Fault("no_listener", "a1", "80"),
    Fault("setting", "a1"),
)
LARGE_FAULTS = (
    Fault("rejects", "a120", "8472"),
    Fault("exposed", "s1", "2379"),
    Fault("no_listener", "a007", "80"),
    Fault("down", "a200"),
    Fault("silent", "a017"),
    Fault("no_egress", "a250"),
    Fault("other_tables", "a033"),
)


def page_sources():
    """The files of the page as they are in this checkout."""
    return PageSources(*((FOLDER / f"page.{kind}").read_text() for kind in ("html", "css", "js")))


def fleet_of(nodes):
    """A cluster with faults of several kinds."""
    return simulated_fleet(nodes, LARGE_FAULTS if nodes >= 300 else SMALL_FAULTS)


def page_of(cluster, previous=None):
    """The HTML of a cluster's page."""
    return build_page(cluster, page_sources(), previous).html


def never_asked(cluster):
    """The same cluster before its ring was complete: only what was asked now was ever asked."""
    answers = {
        name: dataclasses.replace(
            answer,
            proofs={peer: at for peer, at in answer.proofs.items() if peer in answer.asked.peers},
        )
        for name, answer in cluster.answers.items()
    }
    return dataclasses.replace(cluster, answers=answers)


TESTS = {
    "etcd_is_for_servers": {
        "from": "anyone",
        "except": ["server", "pods", "services"],
        "to": "server",
        "deny": ["tcp/2379-2380"],
        "why": "A token from etcd is the whole cluster",
    },
    "kubelet_is_for_nodes": {
        "from": "anyone",
        "except": ["any", "pods", "services"],
        "to": "any",
        "deny": ["tcp/10250"],
    },
    "web_is_public": {"from": "anyone", "to": "any", "accept": ["tcp/80", "tcp/443"]},
}


def fleet_with_everything():
    """A cluster of which the page has every part: promises of each value, groups, notices."""
    fleet = simulated_fleet(5, SMALL_FAULTS)
    groups = {**fleet.tables["groups"], "admins": ["192.0.2.0/24", "198.51.100.0/28"]}
    promises = {
        "etcd_is_for_servers": NodePromise("broken", 2, ("a1 reaches tcp/2379 of s1: connected",)),
        "kubelet_is_for_nodes": NodePromise("kept", packets=4),
        "web_is_public": NodePromise("not enforceable", 0, ("tcp/80 of a1 is redirected",)),
    }
    answers = {
        name: dataclasses.replace(
            answer,
            promises=promises,
            tables="feedfeed" if name == "s3" else answer.tables,
            parts={
                kind: dataclasses.replace(part, notices=("a file could not be read",))
                for kind, part in answer.parts.items()
            },
        )
        for name, answer in fleet.answers.items()
    }
    tables = {**fleet.tables, "tests": TESTS, "groups": groups}
    return dataclasses.replace(fleet, tables=tables, answers=answers)


def fleet_of_yesterday():
    """The same cluster a day before, with a fault that was fixed."""
    fleet = simulated_fleet(5, [Fault("setting", "a1"), Fault("rejects", "s2", "6443")])
    return dataclasses.replace(fleet, at=fleet.at - 86400)
