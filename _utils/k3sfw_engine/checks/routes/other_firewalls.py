"""What decides over packets here beside the routes: sysctls, zones, other firewalls. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.standalone.undo.drop_table import DROP_TABLE, PANIC, made_by

# The table that firewalld makes for a reload and for panic mode.
_DROP_TABLE = f"inet {DROP_TABLE}"
# What iptables makes of its tables where it works with nftables; ufw has its chains in these.
_UFW_TABLES = ("ip filter", "ip6 filter")
_IPTABLES_TABLES = tuple(
    f"{family} {name}"
    for family in ("ip", "ip6")
    for name in ("filter", "mangle", "nat", "raw", "security")
)
_IPTABLES_CHAINS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
_FIREWALLD_TABLES = ("inet firewalld", "ip firewalld", "ip6 firewalld", _DROP_TABLE)

CLOUD_SETUP_OFF = "systemctl disable --now nm-cloud-setup.timer nm-cloud-setup.service"


def cut_off(at: NodeFacts) -> Iterator[Check]:
    """A reload that was killed, or panic mode, drops every new connection."""
    chains = [chain.name for chain in at.host.chains if chain.table == _DROP_TABLE]
    if not chains:
        yield at.check(None, "firewalld's drop table", Status.OK, evidence=f"no {_DROP_TABLE}")
    elif made_by(chains.__contains__) == PANIC:
        # Somebody wanted this. The table may have outlived a killed firewalld; the wish, too.
        yield at.check(
            None,
            "firewalld's drop table",
            Status.LOCAL_BLOCK,
            evidence=f"table {_DROP_TABLE} has chains raw_*: panic mode drops every packet",
            hint=at.typed("firewall-cmd --panic-off") + ", once the reason for it is gone",
        )
    else:
        yield at.check(
            None,
            "firewalld's drop table",
            Status.LOCAL_BLOCK,
            evidence=f"a killed reload left table {_DROP_TABLE}: every new connection is dropped, "
            "in both directions, though firewalld says that it runs",
            hint=at.typed(f"nft delete table {_DROP_TABLE}"),
        )


def is_cut_off(at: NodeFacts) -> bool:
    return any(chain.table == _DROP_TABLE for chain in at.host.chains)


def other_firewalls(at: NodeFacts) -> Iterator[Check]:
    """What drops beside firewalld: a packet must pass all of them."""
    found = []
    if at.host.ufw:
        found.append(("ufw is enabled beside firewalld", at.typed("ufw disable")))
    found += [
        (
            f"table {chain.table} drops in chain {chain.name} ({chain.hook}) what firewalld lets "
            "through",
            _opened(at, chain.table, chain.name),
        )
        for chain in at.host.chains
        if chain.policy == "drop"
        and chain.hook in ("prerouting", "input", "forward", "output")
        and chain.table not in _FIREWALLD_TABLES
        and not (at.host.ufw and chain.table in _UFW_TABLES)
    ]
    for evidence, hint in found:
        yield at.check(None, "other firewalls", Status.CONFLICT, evidence=evidence, hint=hint)
    if not found:
        yield at.check(None, "other firewalls", Status.OK, evidence="none that drops")


def _opened(at: NodeFacts, table: str, chain: str) -> str:
    if table in _IPTABLES_TABLES and chain in _IPTABLES_CHAINS:
        # Kubernetes has rules in these tables, too.
        return at.typed(f'nft "add chain {table} {chain} {{ policy accept; }}"')
    return f"move its rules to firewalld, then {at.typed(f'nft delete table {table}')}"


def other_managers(at: NodeFacts) -> Iterator[Check]:
    """NetworkManager takes away what flannel and the CNI give their interfaces.

    https://docs.k3s.io/installation/requirements#operating-systems
    """
    ours = sorted(set(at.host.managed) & at.cni)
    if ours:
        yield at.check(
            None,
            "NetworkManager",
            Status.CONFLICT,
            evidence=f"NetworkManager manages {', '.join(ours)}, and may take their routes away",
            hint=at.settle,
        )
    if at.host.cloud_setup:
        yield at.check(
            None,
            "nm-cloud-setup",
            Status.CONFLICT,
            evidence="nm-cloud-setup is enabled: its routing rules win over the routes to pods",
            hint=at.typed(CLOUD_SETUP_OFF) + ", then reboot",
        )
