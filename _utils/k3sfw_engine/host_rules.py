"""What decides over packets here beside the routes: sysctls, zones, other firewalls. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from .desired import ZONE
from .situation import BRIDGE, Situation
from .verdicts import Check, Status

# The table that firewalld makes for a reload and for panic mode.
_DROP_TABLE = "inet firewalld_policy_drop"
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

# What firewall-cmd is told of each layer.
OPTIONS = {"runtime": "", "permanent": "--permanent "}


def cut_off(at: Situation) -> Iterator[Check]:
    """A reload that was killed, or panic mode, drops every new connection."""
    chains = [chain for chain in at.host.chains if chain.table == _DROP_TABLE]
    if not chains:
        yield at.check(None, "firewalld's drop table", Status.OK, evidence=f"no {_DROP_TABLE}")
    elif any(chain.name.startswith("raw_") for chain in chains):
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


def is_cut_off(at: Situation) -> bool:
    return any(chain.table == _DROP_TABLE for chain in at.host.chains)


# -- settings of the kernel -----------------------------------------------------------------------


def settings(at: Situation) -> Iterator[Check]:
    links = [BRIDGE, *at.overlays.values(), *(link.name for link in at.uplinks)]
    yield from _setting(at, "net/ipv4/ip_forward", "pods reach nobody outside of this node")
    # Switched off for one interface it is the same, for what comes in by that one.
    if at.host.sysctls.get("net/ipv4/ip_forward") == "1":
        for link in links:
            yield from _forwarding(at, f"net/ipv4/conf/{link}/forwarding", link)
    if any(cidr.version == 6 for cidr in at.tables.pod_cidrs):
        name = "net/ipv6/conf/all/forwarding"
        yield from _setting(at, name, "pods reach nobody outside of this node by IPv6")
        if at.host.sysctls.get(name) == "1":
            for link in links:
                yield from _forwarding(at, f"net/ipv6/conf/{link}/forwarding", link)
    for family, name in ((4, "iptables"), (6, "ip6tables")):
        if any(cidr.version == family for cidr in at.tables.pod_cidrs):
            what = "a pod that calls a service on its own node gets no answer"
            yield from _setting(at, f"net/bridge/bridge-nf-call-{name}", what)
    yield from _reverse_paths(at)


def _setting(at: Situation, name: str, what: str) -> Iterator[Check]:
    """A setting that must be 1; one that the kernel does not have needs none."""
    value = at.host.sysctls.get(name)
    if value == "1":
        yield at.check(None, _dotted(name), Status.OK, evidence="is 1")
    elif value is not None:
        evidence = f"is {value}, so {what}"
        yield at.check(None, _dotted(name), Status.BAD_SETTING, evidence=evidence, hint=at.settle)


def _forwarding(at: Situation, name: str, link: str) -> Iterator[Check]:
    if at.host.sysctls.get(name) == "0":
        evidence = f"is 0, so what comes in by {link} is not forwarded"
        # The kernel hands a change of the general setting down, and only a change.
        hint = at.typed(f"sysctl -w {_dotted(name)}=1")
        yield at.check(None, _dotted(name), Status.BAD_SETTING, evidence=evidence, hint=hint)


def _reverse_paths(at: Situation) -> Iterator[Check]:
    """Strict reverse-path filtering drops what comes in by another link than answers leave by."""
    for link in at.uplinks:
        names = [f"net/ipv4/conf/{each}/rp_filter" for each in ("all", link.name)]
        # The kernel takes the stricter of both, as it counts: 2 is loose and wins over 1.
        value = max(at.host.sysctls.get(name, "0") for name in names)
        if value != "1":
            continue
        others = {
            at.lookup(address).device
            for _peer, address in at.addresses_of(at.peers)
            if address.version == 4 and not at.lookup(address).error
        } - {link.name}
        if others and 4 in {address.version for address in at.own}:
            yield at.check(
                None,
                _dotted(names[1]),
                Status.BAD_SETTING,
                evidence="is strict, and answers to some peers leave by "
                f"{', '.join(sorted(others))}: what they send to {link.name} is dropped",
                hint=at.settle,
            )


def _dotted(name: str) -> str:
    """As sysctl writes it: a dot in the name of an interface is a slash."""
    return "".join({"/": ".", ".": "/"}.get(character, character) for character in name)


# -- others that rule over packets ----------------------------------------------------------------


def zones(at: Situation) -> Iterator[Check]:
    """The rows hold in every zone; a zone that accepts everything makes them pointless."""
    for sentence in at.host.unread:
        yield unproven(at, "firewalld", sentence)
    for link in at.uplinks:
        zone = at.host.zones.get(link.name)
        if zone == ZONE:
            yield taken_for_pods(at, link.name)
        elif zone in at.host.accepting:
            yield everything_let_in(at, link.name, zone, Status.CONFLICT)
        elif zone is not None:
            evidence = f"{link.name} is in zone {zone}"
            yield at.check(None, "zone", Status.OK, evidence=evidence)


def unproven(at: Situation, description: str, sentence: str) -> Check:
    """What could not be read, out of an error's sentence."""
    evidence, _, hint = sentence.partition(". Mend: ")
    return at.check(None, description, Status.UNPROVEN, evidence=evidence, hint=hint)


def taken_for_pods(at: Situation, name: str, when: str = "") -> Check:
    """An interface of something else is in the zone of the pods' interfaces.

    when
        The layers in which that is so, where more than one was looked at.
    """
    return at.check(
        None,
        "zone",
        Status.EXPOSED,
        evidence=f"{name} is in zone {ZONE}{when}: who comes in by it is taken for a pod",
        hint=f"salt {at.node.name} state.apply k3s.firewall",
    )


def everything_let_in(
    at: Situation,
    name: str,
    zone: str,
    status: Status,
    layers: tuple[str, ...] = ("runtime", "permanent"),
    when: str = "",
) -> Check:
    """An interface of something else is in a zone that accepts everything."""
    commands = [
        f"firewall-cmd {option}--zone=public --change-interface={shlex.quote(name)}"
        for layer, option in OPTIONS.items()
        if layer in layers
    ]
    return at.check(
        None,
        "zone",
        status,
        evidence=f"{name} is in zone {zone}{when}, which lets everything in: no row closes "
        "anything",
        hint=at.typed(*commands),
    )


def other_firewalls(at: Situation) -> Iterator[Check]:
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


def _opened(at: Situation, table: str, chain: str) -> str:
    if table in _IPTABLES_TABLES and chain in _IPTABLES_CHAINS:
        # Kubernetes has rules in these tables, too.
        return at.typed(f'nft "add chain {table} {chain} {{ policy accept; }}"')
    return f"move its rules to firewalld, then {at.typed(f'nft delete table {table}')}"


def other_managers(at: Situation) -> Iterator[Check]:
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
