"""Pages of simulated clusters, for tests and benchmarks of the page."""

from __future__ import annotations

import dataclasses

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
