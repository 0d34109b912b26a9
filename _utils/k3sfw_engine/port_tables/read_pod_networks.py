"""The pod network of each node, as far as it can be believed.

Only the checks use these networks; no firewall rule is ever made from them. So a claim that cannot
be believed is reported, and casts no doubt on the node list.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import replace

import netaddr

from k3sfw_engine.errors import Problem
from k3sfw_engine.model.addresses import Networks
from k3sfw_engine.model.rows import ROOT, Node
from k3sfw_engine.port_tables.findings import Findings
from k3sfw_engine.port_tables.single_values import each, mapping, network

_MISSING = object()
_CLAIM = "minion {} claims so itself, and the checks ignore it"


def read_pod_networks(
    found: Findings, nodes: tuple[Node, ...], entries: object, pod_cidrs: Networks
) -> tuple[Node, ...]:
    """The same nodes with their pod networks.

    entries
        What stands below ``k3s:nodes``.
    pod_cidrs
        The cluster's own networks; empty if these could not be read.
    """
    networks: dict[str, Networks] = {}
    claims = set()
    for node in nodes:
        columns = mapping(found, f"{ROOT}:nodes", entries)[node.name]
        if "pod_cidrs" not in columns:
            continue
        own = Findings()
        path = f"{ROOT}:nodes:{node.name}:pod_cidrs"
        networks[node.name] = _of_node(own, path, columns["pod_cidrs"], pod_cidrs)
        if columns["pod_cidrs"] != columns.get("claimed", {}).get("pod_cidrs", _MISSING):
            found.add(own)
            continue
        claims.add(node.name)
        if own.faults:
            networks[node.name] = ()
            found.notices += [
                _notice(f"{fault}; {_CLAIM.format(node.name)}", [node.name]) for fault in own.faults
            ]
    refused = _shared(found, networks, claims)
    return tuple(
        replace(node, pod_cidrs=tuple(n for n in networks[node.name] if n not in refused))
        if node.name in claims
        else replace(node, pod_cidrs=networks.get(node.name, ()))
        for node in nodes
    )


def _of_node(found: Findings, path: str, value: object, pod_cidrs: Networks) -> Networks:
    read = each(found, path, value, network)
    for one in read:
        # Where the cluster's own networks cannot be read, those are the fault.
        if pod_cidrs and not any(one in cidr for cidr in pod_cidrs):
            cidrs = ", ".join(map(str, pod_cidrs))
            found.fault(path, f"{one} is in none of {ROOT}:pod_cidrs ({cidrs})")
    if len({one.version for one in read}) < len(read):
        found.fault(path, "names more than one network of a family")
    return tuple(sorted(read, key=lambda one: (one.version, one.first)))


def _shared(
    found: Findings, networks: Mapping[str, Networks], claims: Set[str]
) -> frozenset[netaddr.IPNetwork]:
    """The claimed networks that are not believed, as another node has a part of them.

    An entry by hand takes precedence over a claim; two entries by hand contradict each other.
    """
    owned = [(one, name) for name, each_ in networks.items() for one in each_]
    for group in _overlapping([one for one in owned if one[1] not in claims]):
        (first, owner), *others = group
        for one, name in others:
            found.fault(
                f"{ROOT}:nodes:{name}:pod_cidrs",
                f"{one} has addresses of {first}, which is {owner}'s",
                "give every node a network of its own",
            )
    refused: set[netaddr.IPNetwork] = set()
    for group in _overlapping(owned):
        claimants = sorted({name for _network, name in group} & claims)
        if claimants:
            refused.update(one for one, name in group if name in claims)
            shared = ", ".join(f"{one} of {name}" for one, name in group)
            text = (
                f"{ROOT}:nodes: {shared} have addresses in common; the checks ignore what "
                f"{', '.join(claimants)} claim"
            )
            found.notices.append(_notice(text, claimants))
    return frozenset(refused)


def _overlapping(
    owned: Iterable[tuple[netaddr.IPNetwork, str]],
) -> Iterator[list[tuple[netaddr.IPNetwork, str]]]:
    """The groups of networks that have addresses in common, each with the node that has it."""
    group: list[tuple[netaddr.IPNetwork, str]] = []
    # Sorted, a network comes directly before everything that it contains.
    for one in sorted(owned, key=lambda o: (o[0].version, o[0].first, o[0].prefixlen, o[1])):
        if group and one[0].version == group[0][0].version and one[0] in group[0][0]:
            group.append(one)
            continue
        if len(group) > 1:
            yield group
        group = [one]
    if len(group) > 1:
        yield group


def _notice(text: str, minions: Iterable[str]) -> str:
    """A notice about claims of these minions, with the command that has them claim anew."""
    names = shlex.quote(",".join(minions))
    fix = f"salt -L {names} saltutil.refresh_grains, or enter them into {ROOT}:nodes by hand"
    return str(Problem(text, fix))
