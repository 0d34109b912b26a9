"""What was read of a real node, s1 of a dual-stack lab with s2 and a1, changed in one respect.

It lies in ``data/network.json`` beside the tests of iproute.
"""

from __future__ import annotations

from dataclasses import replace

import netaddr

from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.routes.route_check import judge_routes
from k3sfw_engine.checks.verdicts import Status
from k3sfw_engine.model.echo import Echo, EchoResult, PathEchoes
from k3sfw_engine.model.firewall_objects import Kind, make_object
from k3sfw_engine.model.host_facts import BaseChain, HostFacts
from k3sfw_engine.model.interfaces_and_routes import Hop, Lookup, Route
from k3sfw_engine.model.zones import ObservedZones, ZoneLayer
from k3sfw_engine.port_tables.read_pillar import parse_tables
from tests.unit.host.test_iproute import parsed

NODES = {
    "s1": {"role": "server", "addresses": ["192.0.2.11", "2001:db8::11"]},
    "s2": {"role": "server", "addresses": ["192.0.2.12", "2001:db8::12"]},
    "a1": {"role": "agent", "addresses": ["192.0.2.21", "2001:db8::21"]},
}
SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/eth0/rp_filter": "0",
    "net/ipv4/conf/eth0/forwarding": "1",
    "net/ipv4/conf/flannel.1/forwarding": "1",
    "net/ipv6/conf/all/forwarding": "1",
    "net/bridge/bridge-nf-call-iptables": "1",
    "net/bridge/bridge-nf-call-ip6tables": "1",
}
HOST = HostFacts(sysctls=SYSCTLS)


def tables(**changed):
    pillar = {
        "pod_cidrs": ["10.42.0.0/16", "fd42::/64"],
        "service_cidrs": ["10.43.0.0/16", "fd43::/64"],
        "ports": {"cluster": {}, "manager": {}},
        "nodes": NODES,
        **changed,
    }
    return parse_tables(pillar, minion_id="s1", role="server")


def network():
    """The captured one, with pods of the overlay's size and every answer that is asked for."""
    found = parsed()
    interfaces = dict(found.interfaces)
    for name, mtu in (("cni0", 1430), ("flannel.1", 1430), ("flannel-v6.1", 1430)):
        interfaces[name] = replace(interfaces[name], mtu=mtu)
    # The lab's nodes have services' addresses on the bridge, as pods' own.
    bridge = interfaces["cni0"]
    pods = tuple(each for each in bridge.addresses if str(each).startswith(("10.42", "fd42")))
    interfaces["cni0"] = replace(bridge, addresses=pods)
    routes = tuple(
        route
        for route in found.routes
        if not str(route.destination).startswith(("203.", "fd99", "198.", "10.43", "fd43"))
    )
    lookups = {
        "192.0.2.12": by("eth0", "192.0.2.11"),
        "192.0.2.21": by("eth0", "192.0.2.11"),
        "2001:db8::12": by("eth0", "2001:db8::11"),
        "2001:db8::21": by("eth0", "2001:db8::11"),
        "10.43.0.1": by("eth0", "192.0.2.11", "192.0.2.10"),
        "fd43::1": by("eth0", "2001:db8::11", "2001:db8::10"),
        "10.42.2.1": by("flannel.1", "10.42.1.0", "10.42.2.0"),
        "10.42.3.1": by("flannel.1", "10.42.1.0", "10.42.3.0"),
        "fd42::2:1": by("flannel-v6.1", "fd42::1:0", "fd42::2:0"),
        "fd42::3:1": by("flannel-v6.1", "fd42::1:0", "fd42::3:0"),
    }
    named = {target: replace(lookup, target=target) for target, lookup in lookups.items()}
    return replace(found, interfaces=interfaces, routes=routes, rules=(), lookups=named)


def by(device, source, gateway=""):
    return Lookup("", "unicast", device, gateway, source, "main")


def situation(net=None, host=HOST, peers=("s2", "a1"), **pillar):
    parsed_tables = tables(**pillar)
    (node,) = (each for each in parsed_tables.nodes if each.name == "s1")
    chosen = tuple(each for each in parsed_tables.nodes if each.name in peers)
    return NodeFacts(node, chosen, parsed_tables, net or network(), host)


def problems(at, paths=None):
    """``[(status, to, description)]`` of all that is not ok."""
    checks = judge_routes(at, {} if paths is None else paths)
    return [
        (check.status.value, check.to, check.description)
        for check in checks
        if check.status is not Status.OK
    ]


def only(at, paths=None):
    """The one check that is not ok."""
    (found,) = (
        c for c in judge_routes(at, {} if paths is None else paths) if c.status is not Status.OK
    )
    return found


def route(destination, device="", gateway="", kind="unicast", **more):
    hops = (Hop(device, gateway),) if kind == "unicast" else ()
    return Route(netaddr.IPNetwork(destination), kind, hops, **more)


def with_routes(net, *routes):
    return replace(net, routes=(*net.routes, *routes))


def without_routes(net, *destinations):
    kept = tuple(each for each in net.routes if str(each.destination) not in destinations)
    return replace(net, routes=kept)


def answering(net, **lookups):
    """These look-ups instead; ``_`` in a name stands for what a name cannot have."""
    return replace(net, lookups={**net.lookups, **lookups})


def linked(net, name, **changes):
    link = replace(net.interfaces[name], **changes)
    return replace(net, interfaces={**net.interfaces, name: link})


def without_overlay_entries(net):
    return replace(
        without_routes(net, "10.42.2.0/24", "10.42.3.0/24", "fd42::2:0/112", "fd42::3:0/112"),
        neighbours=(),
        forwarding=(),
    )


def failed(target, error):
    return Lookup(target, error=error)


def without_forwarding(net, *destinations):
    kept = tuple(each for each in net.forwarding if each.destination not in destinations)
    return replace(net, forwarding=kept)


def without_neighbours(net, *addresses):
    kept = tuple(each for each in net.neighbours if each.address not in addresses)
    return replace(net, neighbours=kept)


def host(**changes):
    return replace(HOST, **changes)


IPV4 = {"pod_cidrs": ["10.42.0.0/16"], "service_cidrs": ["10.43.0.0/16"]}


def passing(size):
    return PathEchoes(Echo(96, EchoResult.ANSWERED), Echo(size, EchoResult.ANSWERED))


SMALL = Echo(96, EchoResult.ANSWERED)


def drop(*names, table="inet firewalld_policy_drop"):
    return tuple(BaseChain(table, name, name.rpartition("_")[2], "drop") for name in names)


def zones(**uplinks):
    """firewalld's zones, the same in both layers; by default eth0 is in public."""
    made = {"public": make_object(Kind.ZONE, "public", {"services": ("ssh",)})}
    for name, settings in uplinks.items():
        made[name] = make_object(Kind.ZONE, name, {"interfaces": ("eth0",), **settings})
    layer = ZoneLayer(made, "public")
    return ObservedZones(layer, layer)
