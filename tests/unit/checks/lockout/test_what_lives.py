"""What is critical among all that lives on a node, what is listed, and what a change narrows."""

from __future__ import annotations

import re
from dataclasses import replace

import netaddr
import pytest
import yaml

from k3sfw_engine.checks.lockout.after_adoption import without_what_goes
from k3sfw_engine.checks.lockout.listed import listed, refused_sockets
from k3sfw_engine.checks.lockout.lockout_check import (
    in_use,
    interfaces_of_pods,
    narrows,
    never_allowed,
    taken_away,
    without_rule,
)
from k3sfw_engine.checks.lockout.overlay_address import overlay_address
from k3sfw_engine.checks.lockout.refusals import refusals_of_a_first_start
from k3sfw_engine.model.critical_processes import CriticalService, service_of_listener
from k3sfw_engine.model.firewall_objects import Kind, make_object
from k3sfw_engine.model.live_connections import HostActivity, LiveConnection, WaitingSocket
from k3sfw_engine.model.overlay import OverlayDevice, OverlayFacts
from k3sfw_engine.model.rows import Protocol, Role
from k3sfw_engine.model.zones import OtherRules
from k3sfw_engine.plan.desired.compute import compute_desired
from k3sfw_engine.plan.steps import TakeOutOfZone
from tests.unit.samples import changed, parsed, pillar

S2, A1, OUTSIDER = "192.0.2.12", "192.0.2.21", "203.0.113.9"
TCP, UDP, VRRP = Protocol.TCP, Protocol.UDP, Protocol.VRRP
OVERLAY, KUBELET, API = CriticalService.OVERLAY, CriticalService.KUBELET, CriticalService.API
ROW = re.compile(r"Fix: add k3s:ports:(\w+):(\w+): (\{.*\})$")


def live(protocol, port, peer, service=None, process="exporter"):
    local = netaddr.IPAddress("192.0.2.11")
    return LiveConnection(port, service, netaddr.IPNetwork(peer), local, protocol, process)


def objects(tree=None, role="server"):
    return compute_desired(parsed(tree, role), Role(role)).objects


# -- what is critical -----------------------------------------------------------------------------

SERVICES = {
    ("k3s-server", 6443): API,
    ("k3s-server", 443): API,
    ("k3s-server", 7443): API,
    ("kube-apiserver", 6443): API,
    ("kube-apiserver", 16443): API,
    ("k3s", 6443): API,
    ("k3s", 7443): None,  # The process may be an agent's.
    ("k3s-server", 2379): CriticalService.ETCD,
    ("k3s-server", 2381): None,
    ("etcd", 12379): CriticalService.ETCD,
    ("k3s-server", 10250): KUBELET,
    ("k3s-agent", 10250): KUBELET,
    ("kubelet", 10250): KUBELET,
    ("node_exporter", 10250): None,
    ("k3s-agent", 6443): None,
    ("k3s-server", 10256): None,
    ("k3s-server", 5001): None,
    ("k3s-server", 31234): None,
    ("node_exporter", 9100): None,
    ("sshd-session", 2222): CriticalService.SSH,
    ("salt-master", 4506): CriticalService.MASTER,
}


@pytest.mark.parametrize(("listener", "service"), SERVICES.items(), ids=map(str, SERVICES))
def test_a_critical_service_is_known_by_its_process_and_port(listener, service):
    assert service_of_listener(*listener) is service


def test_a_kubelet_is_critical_to_nodes_only():
    flows = (live(TCP, 10250, A1, KUBELET), live(TCP, 10250, OUTSIDER, KUBELET))
    kept = in_use(HostActivity(flows), parsed())
    assert [(str(each.peer.ip), each.service) for each in kept] == [(A1, KUBELET), (OUTSIDER, None)]


def test_whatever_pods_use_is_left_to_the_zone_of_their_interfaces():
    flows = tuple(live(protocol, 9100, "10.42.1.7") for protocol in (TCP, UDP))
    assert in_use(HostActivity(flows), parsed()) == ()


# -- what a change closes -------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [TCP, UDP, Protocol.SCTP])
def test_a_port_is_closed_in_its_own_protocol_only(protocol):
    row = {"protocol": "udp", "port": 7946, "source": "any", "destination": "any"}
    before = changed("ports:cluster:memberlist", row)
    flow = live(protocol, 7946, S2)
    closed = taken_away((flow,), objects(before), objects(), parsed())
    assert closed == ((flow,) if protocol is UDP else ())


def test_a_protocol_without_ports_is_closed_with_its_row():
    row = {"protocol": "vrrp", "source": "server", "destination": "server"}
    before = changed("ports:cluster:vrrp", row)
    flows = (live(VRRP, None, S2), live(VRRP, None, OUTSIDER), live(Protocol.ESP, None, S2))
    assert taken_away(flows, objects(before), objects(), parsed()) == flows[:1]
    assert never_allowed(flows, objects(before), parsed(before)) == flows[1:]


def test_a_rule_for_every_protocol_is_a_rule_about_none_of_them():
    waiting = (
        WaitingSocket(TCP, 9100, "exporter"),
        WaitingSocket(TCP, 10250, "k3s-server"),
        WaitingSocket(UDP, 10250, "other"),
        WaitingSocket(VRRP, None, "keepalived"),
    )
    # The row pods allows everything to some, and so tells nothing about a port.
    assert without_rule(waiting, objects()) == (waiting[0], *waiting[2:])


NARROWED = {
    "nothing changes": (pillar(), pillar(), False),
    "a row more": (pillar(), changed("ports:manager:x", {"protocol": "tcp", "port": 1}), False),
    "a row less": (changed("ports:manager:x", {"protocol": "tcp", "port": 1}), pillar(), True),
    "a node more": (
        pillar(),
        changed("nodes:n", {"role": "agent", "addresses": ["192.0.2.99"]}),
        0,
    ),
    "a node less": (
        changed("nodes:n", {"role": "agent", "addresses": ["192.0.2.99"]}),
        pillar(),
        1,
    ),
}


@pytest.mark.parametrize(("before", "after", "narrower"), NARROWED.values(), ids=NARROWED)
def test_only_a_change_that_takes_something_away_narrows(before, after, narrower):
    assert narrows(objects(before), objects(after)) == bool(narrower)
    assert not narrows({}, objects(after))


def test_removing_everything_narrows():
    assert narrows(objects(), {})
    assert interfaces_of_pods(objects()) >= {"cni0"}
    assert interfaces_of_pods({}) == frozenset()


# -- what is said ---------------------------------------------------------------------------------


def rows_of(problems):
    """The rows that are suggested, as the pillar has them."""
    tree = {}
    for each in problems:
        table, name, columns = ROW.search(str(each)).groups()
        tree[f"ports:{table}:{name}"] = yaml.safe_load(columns)
    return tree


PEERS = {
    "a node": ([S2], "any"),
    "nodes of both roles": ([S2, A1], "any"),
    "an outsider": ([OUTSIDER], [OUTSIDER]),
    "a node and an outsider": ([S2, OUTSIDER], [S2, OUTSIDER]),
    "an outsider by IPv6": (["2001:db8:f::9"], ["2001:db8:f::9"]),
    "more than a row names": ([f"203.0.113.{each}" for each in range(1, 60)], "clients"),
}


@pytest.mark.parametrize(("peers", "source"), PEERS.values(), ids=PEERS)
def test_a_suggested_row_is_valid_and_keeps_the_peers(peers, source):
    flows = tuple(live(UDP, 7946, peer, process="serf agent!") for peer in peers)
    found = list(listed(flows, (), parsed()))
    ((path, columns),) = rows_of(found).items()
    assert columns["source"] == source
    assert path.endswith(":serf_agent_7946")
    kept = changed(path, columns)
    assert never_allowed(flows, objects(kept), parsed(kept)) == ()


@pytest.mark.parametrize(
    "waiting",
    [
        WaitingSocket(UDP, 51899, "wg0", CriticalService.WIREGUARD),
        WaitingSocket(VRRP, None, "a raw socket of vrrp", CriticalService.VRRP),
        WaitingSocket(TCP, 9253, "", None),
    ],
)
def test_a_suggested_row_opens_a_socket(waiting):
    for problems in (refused_sockets((waiting,)), listed((), (waiting,), parsed())):
        ((path, columns),) = rows_of(problems).items()
        assert without_rule((waiting,), objects(changed(path, columns))) == ()


def test_the_row_of_a_mesh_opens_it_to_addresses_outside_the_mesh():
    waiting = WaitingSocket(UDP, 51899, "wg0", CriticalService.WIREGUARD)
    ((path, columns),) = rows_of(refused_sockets((waiting,))).items()
    kept = changed(path, columns)
    flow = live(UDP, 51899, OUTSIDER)
    assert never_allowed((flow,), objects(kept), parsed(kept)) == ()


def test_each_port_is_one_line():
    flows = (live(TCP, 9100, OUTSIDER), live(TCP, 9100, S2), live(UDP, 9100, S2))
    found = list(listed(flows, (WaitingSocket(TCP, 9253, "php"),), parsed()))
    assert len(found) == 3
    assert f"this closes tcp/9100 of exporter to {S2}, {OUTSIDER}, which" in str(found[0])


def test_pods_of_another_network_point_to_pod_cidrs():
    flow = live(TCP, 6443, "10.44.1.5", API, "k3s-server")
    pods = (netaddr.IPNetwork("10.44.0.0/16"),)
    (refusal,) = refusals_of_a_first_start((flow,), parsed(), {}, {}, pods)
    assert refusal.fix == (
        "set k3s:pod_cidrs to [10.44.0.0/16], the pod network that flannel has on this node"
    )
    (other,) = refusals_of_a_first_start((live(TCP, 6443, OUTSIDER, API),), parsed(), {}, {}, pods)
    assert other.fix == f"let a row of k3s:ports open tcp/6443 to {OUTSIDER}"


def test_an_overlay_peer_outside_the_tables_points_to_its_address():
    (refusal,) = refusals_of_a_first_start((live(UDP, 8472, OUTSIDER, OVERLAY),), parsed(), {}, {})
    assert "from which pods of another node come" in refusal.text
    assert "flannel-iface" in refusal.fix and OUTSIDER in refusal.fix
    (known,) = refusals_of_a_first_start((live(UDP, 4789, S2, OVERLAY),), parsed(), {}, {})
    assert known.fix == f"let a row of k3s:ports open udp/4789 to {S2} (s2, server)"


def overlay_at(address, name="flannel.1"):
    local = netaddr.IPAddress(address) if address else None
    return OverlayFacts(devices=(OverlayDevice(name, "vxlan", 1, 8472, local),))


ADDRESSES = {
    "a node's": (overlay_at("192.0.2.11"), False),
    "another card's": (overlay_at("198.51.100.11"), True),
    "none": (overlay_at(""), False),
    "of another program": (overlay_at("198.51.100.11", "vxlan100"), False),
    "left by a former backend": (replace(overlay_at("198.51.100.11"), routes=()), False),
    "nothing known": (OverlayFacts(), False),
}


@pytest.mark.parametrize(("overlay", "told"), ADDRESSES.values(), ids=ADDRESSES)
def test_an_overlay_that_sends_from_a_strange_address_is_told(overlay, told):
    assert len(list(overlay_address(overlay, parsed()))) == told


def test_a_lone_node_has_no_overlay_to_lose():
    lone = parsed({**pillar(), "nodes": {"s1": {"role": "server", "addresses": ["192.0.2.11"]}}})
    assert list(overlay_address(overlay_at("198.51.100.11"), lone)) == []


def test_an_adoption_takes_out_of_each_layer_what_goes_there():
    zone = make_object(Kind.ZONE, "public", {"ports": ("22/tcp", "8472/udp")})
    layer = OtherRules({"public": zone}, "public")
    steps = [TakeOutOfZone("permanent", zone, {"ports": ("8472/udp",)})]
    runtime, permanent = without_what_goes([layer, layer], steps)
    assert runtime.zones["public"].items("ports") == ("22/tcp", "8472/udp")
    assert permanent.zones["public"].items("ports") == ("22/tcp",)
