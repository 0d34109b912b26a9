"""Every sentence about peers that a change would cut off. Pure."""

from __future__ import annotations

from k3sfw_engine.errors import Problem
from k3sfw_engine.model.rows import ROOT

ALLOW = f"{ROOT}:firewall:allow_lockout"
MGMT = "mgmt"


def live_connection(service: str) -> str:
    return f"which has a live {service} here"


def management_group() -> str:
    return f"of {ROOT}:groups:{MGMT}"


def pods_of_another_node() -> str:
    return "from which pods of another node come"


def would_close(place: str, peer: str, why_it_counts: str, causes: str, fix: str) -> Problem:
    causes = causes or "the rules that allow it are removed"
    return Problem(
        f"this would close {place} to {peer}, {why_it_counts}: {causes}; no remaining row "
        "allows it",
        fix,
    )


def start_would_close(place: str, peer: str, why_it_counts: str, zone: str, fix: str) -> Problem:
    return Problem(
        f"the first start of firewalld would close {place} to {peer}, {why_it_counts}: neither "
        f"a row nor {f'zone {zone}' if zone else 'a zone'} allows it",
        fix,
    )


def adoption_would_close(place: str, peer: str, why_it_counts: str, zone: str, fix: str) -> Problem:
    return Problem(
        f"this would close {place} to {peer}, {why_it_counts}: "
        f"{f'zone {zone}' if zone else 'a zone'} allows it now, and no row does",
        fix,
    )


def socket_would_close(place: str, what: str, row: str) -> Problem:
    return Problem(
        f"this would close {place}, which {what} needs here: no row opens it", add_row(row)
    )


def overlay_sends_from(device: str, address: str) -> Problem:
    return Problem(
        f"{device} sends pods' packets from {address}, which is an address of no node in "
        f"{ROOT}:nodes, so that the other nodes refuse them once their firewalls run",
        f"set flannel-iface of K3s to the interface of the node's own address, on every node; or "
        f"add {address} to the addresses of this node in {ROOT}:nodes",
    )


# -- what is not critical -------------------------------------------------------------------------


def closes_peers(place: str, what: str, peers: str, row: str) -> Problem:
    served = f" of {what}" if what else ""
    return Problem(f"this closes {place}{served} to {peers}, which use it now", add_row(row))


def closes_socket(place: str, what: str, row: str) -> Problem:
    return Problem(f"this closes {place}, on which {what} waits: no row opens it", add_row(row))


def row(table: str, name: str, columns: str) -> str:
    """Return the row as it is written into the operator's pillar file."""
    return f"{ROOT}:ports:{table}:{name}: {{{columns}}}"


# -- the fixes ------------------------------------------------------------------------------------


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


def correct_pod_networks(networks: str) -> str:
    return f"set {ROOT}:pod_cidrs to [{networks}], the pod network that flannel has on this node"


def correct_overlay_address(peer: str) -> str:
    return (
        f"set flannel-iface of K3s on that node to the interface of its own address, or add {peer} "
        f"to its addresses in {ROOT}:nodes"
    )


def add_row(line: str) -> str:
    return f"add {line}"


def open_the_port(place: str, peer: str, zone: str, command: str) -> str:
    """Return the fix: a row that opens the port, or the zone if one is named.

    zone, command
        The zone to open it in and firewalld's command for that; empty if a row is the only way.
    """
    row = f"let a row of {ROOT}:ports open {place} to {peer}"
    protocol, _slash, port = place.partition("/")
    return f"{command} --zone={zone} --add-port={port}/{protocol}, or {row}" if zone else row


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
