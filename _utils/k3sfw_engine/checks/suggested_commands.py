"""The commands that messages suggest, each made and quoted here and nowhere else. Pure.

An operator can paste them on the Salt master. Routes in words are here too, as ip reads and shows
them alike.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence

import netaddr

from k3sfw_engine.model.interfaces_and_routes import MAIN, Lookup, Route
from k3sfw_engine.model.rows import Node, Role

FIREWALL_SLS = "k3s.firewall"
ROUTES_SLS = "k3s.routes"

# The option of firewall-cmd for each layer of firewalld.
LAYER_OPTIONS = {"runtime": "", "permanent": "--permanent "}

CLOUD_SETUP_OFF = "systemctl disable --now nm-cloud-setup.timer nm-cloud-setup.service"


# Between a fix at its cause and a command that helps meanwhile.
UNTIL_THEN = "; until then: "


def until_then(cause: str, command: str) -> str:
    """A fix at its cause, and the command that helps until the cause is gone, if there is one."""
    return f"{cause}{UNTIL_THEN}{command}" if command else cause


# -- salt -----------------------------------------------------------------------------------------


def salt(node: str, function: str) -> str:
    """Call a function of Salt on one node."""
    return f"salt {shlex.quote(node)} {function}"


def run_on(node: str, *commands: str) -> str:
    """Run shell commands on one node."""
    return salt(node, f"cmd.run {shlex.quote(' && '.join(commands))}")


def apply_firewall(node: str) -> str:
    """Put the rows of the tables in force on a node."""
    return salt(node, f"state.apply {FIREWALL_SLS}")


def apply_routes(node: str) -> str:
    """Set the sysctls that may safely be set."""
    return salt(node, f"state.apply {ROUTES_SLS}")


def check_ports(node: str) -> str:
    """Ask a node about its own rows."""
    return salt(node, "k3sfw.check_ports")


def check_routes(node: str) -> str:
    """Ask a node about its routes."""
    return salt(node, "k3sfw.check_routes")


def adopt(node: str) -> str:
    """Close what the source document's script opened on a node."""
    return salt(node, "k3sfw.adopt")


def heal(node: str) -> str:
    """Repair damage to a node's firewall."""
    return salt(node, "k3sfw.heal")


def refresh_grains(node: str) -> str:
    """Read a node's addresses and pod networks again."""
    return salt(node, "saltutil.refresh_grains")


def delete_key(node: str) -> str:
    """Remove a node that has left the cluster."""
    return f"salt-key -d {shlex.quote(node)}"


def restart_k3s(node: Node, service: str = "", *, openrc: bool = False) -> str:
    """Restart K3s; flannel puts its routes and entries back only when it starts.

    service
        The name of its service, if it is known.
    """
    name = shlex.quote(service or ("k3s" if node.role is Role.SERVER else "k3s-agent"))
    return run_on(
        node.name, f"rc-service {name} restart" if openrc else f"systemctl restart {name}"
    )


def list_ruleset(node: str) -> str:
    """List every nft rule of a node."""
    return run_on(node, "nft list ruleset")


def list_zones(node: str) -> str:
    """List every zone of a node's firewalld."""
    return run_on(node, "firewall-cmd --list-all-zones")


# -- in pillar ------------------------------------------------------------------------------------


def write_into_site(*path: str, value: object) -> str:
    """Set a value of the site's pillar, as a line that merges over the defaults."""
    line = f"{path[-1]}: {_in_yaml(value)}"
    for key in reversed(path[:-1]):
        line = f"{key}: {{{line}}}"
    return f"write into site.sls on the master: k3s: {{{line}}}"


def _in_yaml(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_in_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_in_yaml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return f"'{text}'" if ":" in text else text


# -- on the node ----------------------------------------------------------------------------------


def firewall_cmd(layer: str, zone: str, *options: str) -> str:
    """Change a zone in one layer."""
    return " ".join([f"firewall-cmd {LAYER_OPTIONS[layer]}--zone={shlex.quote(zone)}", *options])


def move_interface(interface: str, zone: str, layers: Iterable[str]) -> tuple[str, ...]:
    """Move an interface to a zone, in these layers."""
    option = f"--change-interface={shlex.quote(interface)}"
    return tuple(firewall_cmd(layer, zone, option) for layer in layers)


def clear_nm_zone(connection: str) -> str:
    """Stop NetworkManager from binding a connection to a zone."""
    return f'nmcli connection modify {shlex.quote(connection)} connection.zone ""'


def set_mtu(interface: str, mtu: int) -> str:
    """Set the MTU of an interface."""
    return f"ip link set {interface} mtu {mtu}"


def set_link_up(interface: str) -> str:
    """Switch an interface on."""
    return f"ip link set {interface} up"


def accept_forwarded(program: str, way: str, network: netaddr.IPNetwork) -> str:
    """Accept forwarded packets of this network, before any other rule of iptables.

    way
        ``s`` for packets from it, ``d`` for those to it.
    """
    return f"{program} -I FORWARD -{way} {network} -j ACCEPT"


def ip_route(verb: str, family: int, words: str) -> str:
    """Change routes with ip."""
    return f"ip {'-6 ' if family == 6 else ''}route {verb} {words}"


def delete_route(route: Route) -> str:
    """Remove a route."""
    return ip_route("del", route.destination.version, route_in_words(route))


def route_in_words(route: Route) -> str:
    """A route as ip takes and shows it."""
    words = [] if route.kind == "unicast" else [route.kind]
    words.append(str(route.destination))
    if len(route.hops) == 1:
        words += [f"via {route.gateway}"] if route.gateway else []
        words += [f"dev {route.device}"] if route.device else []
    words += [f"metric {route.metric}"] if route.metric else []
    words += [f"table {route.table}"] if route.table != MAIN else []
    return " ".join(words)


def routes_in_words(routes: Iterable[Route]) -> str:
    """Several routes, with commas between them."""
    return ", ".join(map(route_in_words, routes))


def lookup_in_words(lookup: Lookup) -> str:
    """The way that the kernel takes, as ip shows it."""
    return f"{f'via {lookup.gateway} ' if lookup.gateway else ''}dev {lookup.device}"


def instead_there_is(routes: Sequence[Route]) -> str:
    """The end of a sentence about a missing route: the routes in its place, if there are any."""
    return f"; instead there is {routes_in_words(routes)}" if routes else ""
