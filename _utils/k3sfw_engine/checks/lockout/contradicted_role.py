"""A role in pillar that contradicts what is running on the node. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from k3sfw_engine.checks.lockout.lockout_check import must_stay_open
from k3sfw_engine.checks.lockout.refusals import Refusal
from k3sfw_engine.model.addresses import entry
from k3sfw_engine.model.live_connections import CriticalService, HostActivity
from k3sfw_engine.model.rows import ROOT, Role, Tables

# -- roles and members ----------------------------------------------------------------------------


def contradicted_role(seen: HostActivity, tables: Tables, role: Role) -> Iterator[Refusal]:
    """What runs here against what pillar says this node is; a K3s that is not there is no word."""
    flows = must_stay_open(replace(seen, ssh_ports=frozenset()), tables)
    servers = [
        each for each in flows if each.service in (CriticalService.ETCD, CriticalService.API)
    ]
    if role is Role.AGENT and servers:
        peers = ", ".join(sorted({entry(each.peer) for each in servers}))
        what = " and ".join(sorted({_SERVES[each.service] for each in servers}))
        yield Refusal(
            f"the tables say that this node is an agent, and {what} with live connections from "
            f"{peers} runs on it",
            f"correct its role in {ROOT}:nodes or the grain k3s_role",
        )
    elif role is Role.SERVER and seen.k3s == {Role.AGENT}:
        yield Refusal(
            "the tables say that this node is a server, and k3s-agent runs on it",
            f"correct its role in {ROOT}:nodes or the grain k3s_role",
        )


_SERVES = {CriticalService.ETCD: "etcd", CriticalService.API: "an API server"}
