"""The verdict on what else filters packets here (a drop table, ufw, other nft tables). Pure.

On NetworkManager and nm-cloud-setup too, which remove or overrule the routes to pods.
"""

from __future__ import annotations

from collections.abc import Iterator

import netaddr

from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.routes import messages
from k3sfw_engine.checks.suggested_commands import ROUTES_SLS, accept_forwarded
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.model.host_facts import BaseChain
from k3sfw_engine.model.rows import FlannelBackend
from k3sfw_engine.standalone.undo.drop_table import DROP_TABLE, PANIC, made_by

# The table that firewalld creates for a reload and for panic mode.
_DROP_TABLE = f"inet {DROP_TABLE}"
# ufw has its chains in these tables of iptables.
_UFW_TABLES = ("ip filter", "ip6 filter")
_FIREWALLD_TABLES = ("inet firewalld", "ip firewalld", "ip6 firewalld", _DROP_TABLE)


def judge_drop_table(at: NodeFacts) -> Iterator[Check]:
    """Whether a killed reload or panic mode drops every new connection."""
    chains = [chain.name for chain in at.host.chains if chain.table == _DROP_TABLE]
    name, node = "firewalld's drop table", at.node.name
    if not chains:
        yield at.check(None, name, Status.OK, f"there is no table {_DROP_TABLE}")
    elif made_by(chains.__contains__) == PANIC:
        # An operator wanted this, also if the firewalld of that time was killed since.
        yield at.check(None, name, Status.LOCAL_BLOCK, messages.panic_mode(node, _DROP_TABLE))
    else:
        problem = messages.leftover_drop_table(node, _DROP_TABLE)
        yield at.check(None, name, Status.LOCAL_BLOCK, problem)


def is_cut_off(at: NodeFacts) -> bool:
    """Whether firewalld's drop table is there, whatever created it."""
    return any(chain.table == _DROP_TABLE for chain in at.host.chains)


def judge_other_firewalls(at: NodeFacts) -> Iterator[Check]:
    """What rejects beside firewalld: a packet must pass all of them."""
    found = [messages.ufw_enabled(at.node.name)] if at.host.ufw else []
    found += [
        messages.chain_closes(chain, at.host.rule_files, _accept_pods(at, chain))
        for chain in at.host.chains
        if chain.closes
        and chain.hook in ("prerouting", "input", "forward", "output")
        and chain.table not in _FIREWALLD_TABLES
        and not (at.host.ufw and chain.table.startswith(_UFW_TABLES))
        and not (chain.hook == "forward" and _lets_pods_through(at, chain))
    ]
    for problem in found:
        yield at.check(None, "other firewalls", Status.CONFLICT, problem)
    if not found:
        evidence = "none that rejects what the cluster needs"
        yield at.check(None, "other firewalls", Status.OK, evidence)


def _lets_pods_through(at: NodeFacts, chain: BaseChain) -> bool:
    """Whether nothing of pods is lost in a forward chain: docker's closes what is left, too."""
    # Of other plugins the rules are not known; they see to their pods.
    if at.tables.flannel_backend is FlannelBackend.NONE:
        return True
    return all(map(chain.end.accepts, _pods_in(at, chain)))


def _pods_in(at: NodeFacts, chain: BaseChain) -> list[netaddr.IPNetwork]:
    """The pod networks of the families that the chain sees."""
    family = {"ip": 4, "ip6": 6}.get(chain.table.partition(" ")[0])
    return [cidr for cidr in at.tables.pod_cidrs if family in (None, cidr.version)]


def _accept_pods(at: NodeFacts, chain: BaseChain) -> str:
    """The command that lets pods through before a chain of iptables ends, as flannel does."""
    program = {"ip filter": "iptables", "ip6 filter": "ip6tables"}.get(chain.table, "")
    if chain.hook != "forward" or not program:
        return ""
    networks = _pods_in(at, chain)
    return at.run_here(*(accept_forwarded(program, way, n) for n in networks for way in "sd"))


def judge_network_managers(at: NodeFacts) -> Iterator[Check]:
    """NetworkManager removes the routes that flannel and the CNI give their interfaces.

    https://docs.k3s.io/installation/requirements#operating-systems
    """
    ours = sorted(set(at.host.managed) & at.cni)
    if ours:
        override = at.host.nm_override
        problem = messages.managed_by_nm(at.node.name, ", ".join(ours), override)
        sls = "" if override else ROUTES_SLS
        yield at.check(None, "NetworkManager", Status.CONFLICT, problem, sls=sls)
    uplinks = {link.name for link in at.uplinks}
    # What goes by other devices is not networkd's, unless a .network file names them.
    if at.host.networkd and any(route.device in uplinks for route in at.pod_routes):
        problem = messages.networkd_drops_routes(at.node.name)
        yield at.check(None, "systemd-networkd", Status.CONFLICT, problem, sls=ROUTES_SLS)
    if at.host.cloud_setup:
        problem = messages.cloud_setup_enabled(at.node.name)
        yield at.check(None, "nm-cloud-setup", Status.CONFLICT, problem)
