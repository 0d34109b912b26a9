"""What check_ports takes for the way to a peer, of what the node's kernel says."""

from __future__ import annotations

import copy

import pytest

from k3sfw_engine.checks.ports import questions_to_peers
from k3sfw_engine.commands import check_ports
from k3sfw_engine.model.interfaces_and_routes import Interface, Lookup, Network
from k3sfw_engine.model.rows import PortRange, Protocol
from tests.unit.samples import NODES, parsed, pillar

PODS = {"s2": ["10.42.2.0/24", "fd42:0:0:2::/64"], "a1": ["10.42.4.0/24"]}
DEVICES = {4: "flannel-wg", 6: "flannel-wg-v6"}


def tables(backend="wireguard-native"):
    nodes = copy.deepcopy(NODES)
    for name, networks in PODS.items():
        nodes[name]["pod_cidrs"] = networks
    return parsed(
        pillar(nodes=nodes, flannel_backend=backend, pod_cidrs=["10.42.0.0/16", "fd42::/56"])
    )


@pytest.fixture
def ways(monkeypatch):
    """Gives the overlay as s1 knows it, where the kernel sends by these devices or fails."""

    def given(found, **devices):
        asked = []

        def read(targets):
            asked.extend(targets)
            lookups = {target: _lookup(target, devices) for target in asked}
            links = {name: Interface(name, True, True, 1420) for name in DEVICES.values()}
            return Network(links, (), (), (), (), lookups)

        monkeypatch.setattr(check_ports, "read_network", read)
        chosen = [node for node in found.nodes if node.name != "s1"]
        return check_ports._read_paths(found, chosen).overlay, asked

    return given


def _lookup(target, devices):
    device = devices.get(target, DEVICES[6 if ":" in target else 4])
    return Lookup(target, device=device, error="" if device else "Network is unreachable")


def test_peers_that_claim_a_pod_network_have_its_first_address_in_the_overlay(ways):
    overlay, asked = ways(tables())
    assert overlay == {
        "192.0.2.12": "10.42.2.0",
        "2001:db8::12": "fd42:0:0:2::",
        "192.0.2.21": "10.42.4.0",
    }
    assert set(overlay.values()) < set(asked)


@pytest.mark.parametrize("device", ["", "eth0", "lo", "cni0", "flannel-wg-v6"])
def test_an_address_that_the_kernel_does_not_send_to_wireguard_is_not_asked(ways, device):
    overlay, _asked = ways(tables(), **{"10.42.2.0": device})
    assert "192.0.2.12" not in overlay
    assert set(overlay.values()) == {"fd42:0:0:2::", "10.42.4.0"}


@pytest.mark.parametrize("backend", ["vxlan", "host-gw", "none"])
def test_with_other_backends_no_claim_makes_an_overlay(ways, backend):
    overlay, asked = ways(tables(backend))
    assert overlay is None
    assert not [target for target in asked if target.startswith(("10.42", "fd42"))]


def test_the_tunnels_are_watched_also_where_no_row_names_them():
    found = tables()
    own = next(node for node in found.nodes if node.name == "s1")
    spans = questions_to_peers.watched_packets(found, own, [51820])
    assert (Protocol.UDP, PortRange(51820, 51820)) in spans
    assert (
        len(spans) == len(set(spans)) == len(questions_to_peers.watched_packets(found, own, [])) + 1
    )
