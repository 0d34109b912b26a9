"""The verdict on what else filters packets here (a drop table, ufw, other nft tables). Pure.

On NetworkManager and nm-cloud-setup too, which remove or overrule the routes to pods.
"""

from __future__ import annotations

from collections.abc import Iterator

from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.routes import messages
from k3sfw_engine.checks.suggested_commands import ROUTES_SLS
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.standalone.undo.drop_table import DROP_TABLE, PANIC, made_by

# The table that firewalld creates for a reload and for panic mode.
_DROP_TABLE = f"inet {DROP_TABLE}"
# The tables that iptables creates when it works with nftables; ufw has its chains in these.
_UFW_TABLES = ("ip filter", "ip6 filter")
_IPTABLES_TABLES = tuple(
    f"{family} {name}"
    for family in ("ip", "ip6")
    for name in ("filter", "mangle", "nat", "raw", "security")
)
_IPTABLES_CHAINS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
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
    """What drops beside firewalld: a packet must pass all of them."""
    found = [messages.ufw_enabled(at.node.name)] if at.host.ufw else []
    found += [
        messages.chain_drops(
            at.node.name,
            chain.table,
            chain.name,
            chain.hook,
            shared=chain.table in _IPTABLES_TABLES and chain.name in _IPTABLES_CHAINS,
        )
        for chain in at.host.chains
        if chain.policy == "drop"
        and chain.hook in ("prerouting", "input", "forward", "output")
        and chain.table not in _FIREWALLD_TABLES
        and not (at.host.ufw and chain.table in _UFW_TABLES)
    ]
    for problem in found:
        yield at.check(None, "other firewalls", Status.CONFLICT, problem)
    if not found:
        yield at.check(None, "other firewalls", Status.OK, "none that drops")


def judge_network_managers(at: NodeFacts) -> Iterator[Check]:
    """NetworkManager removes the routes that flannel and the CNI give their interfaces.

    https://docs.k3s.io/installation/requirements#operating-systems
    """
    ours = sorted(set(at.host.managed) & at.cni)
    if ours:
        problem = messages.managed_by_nm(at.node.name, ", ".join(ours))
        yield at.check(None, "NetworkManager", Status.CONFLICT, problem, sls=ROUTES_SLS)
    if at.host.cloud_setup:
        problem = messages.cloud_setup_enabled(at.node.name)
        yield at.check(None, "nm-cloud-setup", Status.CONFLICT, problem)
