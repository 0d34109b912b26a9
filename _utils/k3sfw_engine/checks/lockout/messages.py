"""Every sentence that refuses a change because it would cut a peer off. Pure."""

from __future__ import annotations

from k3sfw_engine.errors import Problem
from k3sfw_engine.model.rows import ROOT

ALLOW = f"{ROOT}:firewall:allow_lockout"
MGMT = "mgmt"


def live_connection(service: str) -> str:
    return f"which has a live {service} here"


def management_group() -> str:
    return f"of {ROOT}:groups:{MGMT}"


def would_close(port: int, peer: str, why_it_counts: str, causes: str, fix: str) -> Problem:
    causes = causes or "the rules that allow it are removed"
    return Problem(
        f"this would close tcp/{port} to {peer}, {why_it_counts}: {causes}; no remaining row "
        "allows it",
        fix,
    )


def start_would_close(port: int, peer: str, why_it_counts: str, zone: str, fix: str) -> Problem:
    return Problem(
        f"the first start of firewalld would close tcp/{port} to {peer}, {why_it_counts}: neither "
        f"a row nor {f'zone {zone}' if zone else 'a zone'} allows it",
        fix,
    )


def leaves_ipset(ipset: str, policy: str, rule: str) -> str:
    return f"it leaves ipset {ipset} (policy {policy}: {rule})"


def rule_removed(policy: str, rule: str) -> str:
    return f"this rule of policy {policy} is removed: {rule}"


def put_back_into_group(peer: str, group: str) -> str:
    return f"put {peer} back into {ROOT}:groups:{group}"


def put_back_into_nodes(name: str, peer: str, role: str) -> str:
    node = name or f"the node that has {peer}"
    return f"put {node}{f' with the role {role}' if role else ''} and this address back into " + (
        f"{ROOT}:nodes"
    )


def open_the_port(port: int, peer: str, zone: str, command: str) -> str:
    """Return the fix: a row that opens the port, or the zone if one is named.

    zone, command
        The zone to open it in and firewalld's command for that; empty if a row is the only way.
    """
    row = f"let a row of {ROOT}:ports open tcp/{port} to {peer}"
    return f"{command} --zone={zone} --add-port={port}/tcp, or {row}" if zone else row


def or_allow(problem: Problem) -> Problem:
    """Return the problem with the setting that allows the lockout as a second fix."""
    allow = f"set {ALLOW}: true for this one apply"
    return Problem(problem.text, f"{problem.fix}, or {allow}")


def allowed(problem: Problem) -> str:
    """Return the notice for an operator who allowed the lockout."""
    return f"{problem.text}; {ALLOW} allows it"


def role_contradicted_by_services(services: str, peers: str) -> Problem:
    return Problem(
        f"the tables say that this node is an agent, but {services} with live connections from "
        f"{peers} runs on it",
        f"correct its role in {ROOT}:nodes or the grain k3s_role",
    )


def role_contradicted_by_agent() -> Problem:
    return Problem(
        "the tables say that this node is a server, but k3s-agent runs on it",
        f"correct its role in {ROOT}:nodes or the grain k3s_role",
    )


def node_list_shrank(left: int, held: int) -> str:
    return (
        f"{ROOT}:nodes has {left} addresses, and {held} are allowed as nodes now. If so many have "
        f"left, set {ROOT}:firewall:expected_nodes to the true number of nodes"
    )
