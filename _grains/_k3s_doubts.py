"""The sentences of the grain ``k3s_doubts``: what is wrong, why, and what fixes it."""

from __future__ import annotations

from collections.abc import Iterable

_SET_ROLE = "salt-call grains.set k3s_role"
_THEN = "then run salt-call saltutil.refresh_grains"


def units_disagree(names: Iterable[str]) -> str:
    listed = list(names)
    return (
        f"{' and '.join(listed)} run different roles of K3s, and none or several of them start "
        "with this host. It counts as an agent, which has fewer rights. Fix: disable the service "
        f"that is not wanted (systemctl disable {' or '.join(listed)}), {_THEN}; or, if this is a "
        f"server, {_SET_ROLE} server"
    )


def unit_runs_both(name: str) -> str:
    return (
        f"{name} can start both a server and an agent of K3s. This host counts as an agent, which "
        f"has fewer rights. Fix: {_SET_ROLE} agent, or {_SET_ROLE} server"
    )


def unit_is_not_understood(name: str) -> str:
    return (
        f"what {name} runs cannot be told from its files, and K3s has no data folder here. This "
        f"host counts as an agent, which has fewer rights. Fix: {_SET_ROLE} agent, or {_SET_ROLE} "
        "server"
    )


def process_disagrees(runs: str, source: str, says: str) -> str:
    return (
        f"a process k3s {runs} runs on this host, but {source} says {says}. It counts as an agent, "
        f"which has fewer rights. Fix: restart K3s if its unit was changed, {_THEN}; or, if what "
        f"runs is right, {_SET_ROLE} {runs}"
    )


def name_disagrees(name: str, folder: str) -> str:
    return (
        f"what {name} runs cannot be told from its files; its name says agent, but {folder} is "
        "that of a server. This host counts as an agent, which has fewer rights. Fix: "
        f"{_SET_ROLE} agent, or {_SET_ROLE} server"
    )


def operator_disagrees(role: object, source: str, says: str) -> str:
    return (
        f"the grain k3s_role is set to {role} by hand, but {source} says {says}. The value set by "
        f"hand counts. Fix: if it is wrong, {_SET_ROLE} {says}, or correct it in the minion's "
        "configuration"
    )


def not_readable(path: str, why: str) -> str:
    return (
        f"{path} cannot be read as a configuration of K3s ({why}), so K3s does not start with it. "
        f"k3s_node_ips include the addresses that K3s would choose itself. Fix: correct the file, "
        f"{_THEN}"
    )


def ignored_by_dangling_link(path: str) -> str:
    return (
        f"{path} is a link that leads nowhere. K3s then ignores its whole configuration, and so do "
        f"these grains. Fix: remove the link, {_THEN}"
    )


def configuration_is_remote(url: str) -> str:
    return (
        f"K3s reads its configuration from {url}, which these grains do not ask. Fix: list this "
        "node's addresses below k3s:nodes:ID:addresses in pillar if they are not complete"
    )


def configuration_is_missing(path: str) -> str:
    return (
        f"K3s is told to read {path}, which does not exist, so K3s does not start. Fix: create the "
        f"file, or correct the path in the unit, {_THEN}"
    )


def merge_key(path: str) -> str:
    return (
        f"{path} has a merge key (<<), which K3s drops. k3s_node_ips include what it stands for. "
        f"Fix: write those lines into the file itself, {_THEN}"
    )


def not_for_agents(path: str, keys: Iterable[str]) -> str:
    return (
        f"{path} has {', '.join(sorted(keys))}, which an agent of K3s does not know, so it does "
        "not start. Fix: remove the lines, and restart k3s-agent"
    )


def not_an_address(key: str, text: str) -> str:
    return (
        f"{key} of K3s has {text!r}, which is not an address, so K3s does not start with it. Fix: "
        f"correct {key}, without blanks around commas, {_THEN}"
    )


def too_many_addresses(key: str, addresses: Iterable[str]) -> str:
    return (
        f"{key} of K3s has {', '.join(addresses)}. The kubelet accepts one address, or one of each "
        f"family. Fix: correct {key}, {_THEN}"
    )


def not_on_this_host(key: str, address: str) -> str:
    return (
        f"{key} of K3s is {address}, which no interface of this host has. Fix: correct {key} and "
        f"restart K3s, {_THEN}"
    )


def no_choice() -> str:
    return (
        "K3s has no node-ip, and this host has no default route by which K3s would choose its "
        "address. k3s_node_ips are the addresses of all its interfaces. Fix: set node-ip in "
        f"/etc/rancher/k3s/config.yaml and restart K3s, {_THEN}"
    )


def no_vpn_address() -> str:
    return (
        "K3s is told to use Tailscale (vpn-auth), but tailscale0 has no address. Fix: see "
        "tailscale status; once it is connected, run salt-call saltutil.refresh_grains"
    )


def in_other_network(address: str, network: str) -> str:
    return (
        f"{address} is in {network}, so it is not an address of this node. Fix: correct node-ip, "
        f"or that network in the configuration of K3s, {_THEN}"
    )


def virtual(address: str, interface: str) -> str:
    return (
        f"this node sends from {address} on {interface}, which looks like a virtual address that "
        "moves between nodes, so peers do not allow it. Fix: set node-ip and flannel-iface in "
        f"/etc/rancher/k3s/config.yaml, restart K3s, {_THEN}; if it is this node's own, list it "
        "below k3s:nodes:ID:addresses in pillar"
    )


def temporary(address: str, interface: str) -> str:
    return (
        f"this node sends from the temporary address {address} on {interface}, which changes, so "
        f"peers do not allow it. Fix: sysctl -w net.ipv6.conf.{interface.replace('.', '/')}."
        f"use_tempaddr=1, which prefers the lasting one, and the same in /etc/sysctl.d"
    )


def certificate_disagrees(addresses: Iterable[str], path: str) -> str:
    return (
        f"{path}, which K3s writes when it starts, names {', '.join(addresses)}, which the "
        f"configuration and this host do not. Fix: restart K3s, {_THEN}; if they are this node's "
        "own, list them below k3s:nodes:ID:addresses in pillar"
    )


def kernel_is_silent(error: OSError) -> str:
    return (
        f"the kernel does not list this host's addresses ({error}). k3s_node_ips are those in the "
        f"configuration of K3s alone. Fix: let this minion open netlink sockets, {_THEN}"
    )
