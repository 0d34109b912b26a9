"""What a node runs is compared with its rows, and the line that ends a difference is valid."""

from __future__ import annotations

import copy
from dataclasses import replace

import netaddr
import pytest
import yaml

from k3sfw_engine.checks.ports.services_of_node import contradictions, served_by, unproven_pods
from k3sfw_engine.checks.verdicts import Status
from k3sfw_engine.model.datastore import Datastore
from k3sfw_engine.model.listeners import Listener
from k3sfw_engine.model.nat import Redirection
from k3sfw_engine.model.node_services import NodeServices
from k3sfw_engine.model.overlay import FlannelConfig, OverlayDevice, OverlayFacts, PodRoute
from k3sfw_engine.model.rows import PortRange, Protocol, Role
from tests.unit.samples import CLUSTER_TABLE, changed, parsed, pillar, row

LINE = "write into site.sls on the master: "
OF_SERVER = (2379, 2380, 5001, 6443, 10250)


def k3s(*ports, process="k3s-server"):
    return [Listener(Protocol.TCP, port, process) for port in ports]


def found(listeners, role="server", tree=None, **services):
    tables = parsed(tree, role)
    known = NodeServices(tuple(listeners), **services)
    return contradictions(tables, Role(role), known)


def with_defaults_names():
    """The rows of the document under the names that the pillar's defaults give them."""
    tree = pillar()
    cluster = tree["ports"]["cluster"]
    cluster["supervisor"] = cluster.pop("api")
    cluster["flannel_vxlan"] = cluster.pop("vxlan")
    return tree


def merged(tree, contradiction):
    """The pillar after the line of the fix was copied into the site."""
    _before, line, text = contradiction.problem.fix.partition(LINE)
    assert line, contradiction.problem.fix

    def merge(old, new):
        for key, value in new.items():
            both = isinstance(value, dict) and isinstance(old.get(key), dict)
            old[key] = merge(old[key], value) if both else value
        return old

    return merge(copy.deepcopy(tree), yaml.safe_load(text)["k3s"])


def vxlan(port, name="flannel.1"):
    return OverlayFacts(
        (OverlayDevice(name, "vxlan", 1, port, netaddr.IPAddress("192.0.2.11")),),
        routes=(PodRoute(netaddr.IPNetwork("10.42.2.0/24"), netaddr.IPAddress("10.42.2.0"), name),),
    )


def test_a_usual_server_and_a_usual_agent_contradict_nothing():
    assert found(k3s(*OF_SERVER), datastore=Datastore.ETCD, overlay=vxlan(8472)) == ()
    assert found(k3s(10250, process="k3s-agent"), "agent", overlay=vxlan(8472)) == ()
    assert found([]) == ()


def test_services_that_no_other_host_needs_and_node_ports_are_not_reported():
    assert found(k3s(*OF_SERVER, 6444, 10249, 10257, 10259, 31234), datastore=Datastore.ETCD) == ()
    other = [Listener(Protocol.TCP, 7443, "nginx")]
    assert found([*k3s(*OF_SERVER), *other], datastore=Datastore.ETCD) == ()


@pytest.mark.parametrize("tree", [pillar(), with_defaults_names()])
def test_an_api_on_another_port_is_said_with_both_ports_and_the_line(tree):
    (contradiction,) = found(k3s(2379, 2380, 5001, 7443, 10250), tree=tree)
    assert "7443" in contradiction.problem.text
    assert "6443" in contradiction.problem.text
    after = merged(tree, contradiction)
    assert found(k3s(2379, 2380, 5001, 7443, 10250), tree=after) == ()


def test_a_row_that_was_moved_though_the_api_was_not_is_said():
    tree = with_defaults_names()
    tree["ports"]["cluster"]["supervisor"]["port"] = 7443
    (contradiction,) = found(k3s(*OF_SERVER), tree=tree, datastore=Datastore.ETCD)
    after = merged(tree, contradiction)
    assert found(k3s(*OF_SERVER), tree=after, datastore=Datastore.ETCD) == ()


def test_a_kubelet_on_another_port_is_said_on_an_agent():
    tree = pillar()
    (contradiction,) = found(k3s(10260, process="k3s-agent"), "agent", tree)
    assert found(k3s(10260, process="k3s-agent"), "agent", merged(tree, contradiction)) == ()


def test_what_cannot_be_assigned_gets_no_line_that_could_be_wrong():
    (contradiction,) = found(k3s(2379, 2380, 5001, 7443, 7444))
    assert (contradiction.ports, contradiction.row) == ((7443, 7444), None)
    assert LINE not in contradiction.problem.fix


@pytest.mark.parametrize(("port", "source"), [(2381, "any"), (3380, "server")])
def test_a_service_of_servers_without_a_row_gets_one(port, source):
    tree = pillar()
    (contradiction,) = found(k3s(*OF_SERVER, port), tree=tree, datastore=Datastore.ETCD)
    after = merged(tree, contradiction)
    (new,) = (r for r in parsed(after).rows if r.ports == (PortRange(port, port),))
    assert [str(each) for each in new.sources] == [source]
    assert found(k3s(*OF_SERVER, port), tree=after, datastore=Datastore.ETCD) == ()


@pytest.mark.parametrize("ports", [(5001,), (6443,), (5001, 6443)])
@pytest.mark.parametrize("known", [True, False])
def test_the_embedded_registry_of_an_agent_needs_rows_to_all_nodes(ports, known):
    tree = with_defaults_names()
    listeners = k3s(10250, *ports, process="k3s-agent")
    of_agent = {
        name: columns
        for name, columns in tree["ports"]["cluster"].items()
        if columns["destination"] == "Any"
    }
    rendered = {**tree, "ports": {**tree["ports"], "cluster": of_agent}}
    if known:
        servers_only = {n: c for n, c in tree["ports"]["cluster"].items() if n not in of_agent}
        rendered["peer_ports"] = {"cluster": servers_only, "manager": {}}
    (contradiction,) = found(listeners, "agent", rendered)
    assert contradiction.ports == ports
    assert found(listeners, "agent", merged(tree, contradiction)) == ()


def test_a_tunnel_on_another_port_is_said_with_both_ports_and_the_line():
    tree = with_defaults_names()
    overlay = vxlan(4789, "flannel.42")
    (contradiction,) = found(k3s(*OF_SERVER), tree=tree, overlay=overlay, datastore=Datastore.ETCD)
    assert all(word in contradiction.problem.text for word in ("flannel.42", "4789", "8472"))
    after = merged(tree, contradiction)
    assert found(k3s(*OF_SERVER), tree=after, overlay=overlay, datastore=Datastore.ETCD) == ()


def test_a_tunnel_for_which_no_row_exists_gets_one():
    tree = pillar()
    del tree["ports"]["cluster"]["vxlan"]
    (contradiction,) = found([], tree=tree, overlay=vxlan(4789))
    assert found([], tree=merged(tree, contradiction), overlay=vxlan(4789)) == ()


def test_wireguards_ports_count_in_the_families_that_pods_have():
    tree = changed("flannel_backend", "wireguard-native")
    tree["ports"]["cluster"]["wireguard"] = row("UDP", [51820, 51821], "Any", "Any")
    config = FlannelConfig(
        (netaddr.IPNetwork("10.42.0.0/16"),), "wireguard", ports={4: 5000, 6: 51821}
    )
    overlay = OverlayFacts((), config, config.networks, ())
    (contradiction,) = found([], tree=tree, overlay=overlay)
    assert contradiction.ports == (5000,)
    assert found([], tree=merged(tree, contradiction), overlay=overlay) == ()
    usual = replace(overlay, config=replace(config, ports={4: 51820, 6: 51821}))
    assert found([], tree=tree, overlay=usual) == ()


def test_the_port_of_another_backend_than_pillars_is_not_compared():
    config = FlannelConfig((netaddr.IPNetwork("10.42.0.0/16"),), "wireguard", ports={4: 51820})
    assert found([], overlay=OverlayFacts((), config, config.networks, ())) == ()


@pytest.mark.parametrize(
    ("name", "kind", "port"),
    [
        ("vxlan.calico", "vxlan", 4789),
        ("wireguard.cali", "wireguard", 51820),
        ("cilium_vxlan", "vxlan", 8472),
        ("cilium_geneve", "geneve", 6081),
    ],
)
def test_the_tunnel_of_another_plugin_needs_a_row(name, kind, port):
    tree = pillar(flannel_backend="none")
    del tree["ports"]["cluster"]["vxlan"]
    overlay = OverlayFacts(
        (OverlayDevice(name, kind, port=port), OverlayDevice("mine", kind, 7, 9))
    )
    (contradiction,) = found([], tree=tree, overlay=overlay)
    assert contradiction.ports == (port,)
    assert found([], tree=merged(tree, contradiction), overlay=overlay) == ()
    assert found([], overlay=overlay, tree=changed("flannel_backend", "host-gw", tree)) == ()


def test_pods_of_another_plugin_are_unproven_and_those_of_flannel_are_asked():
    (check,) = unproven_pods("s1", parsed(pillar(flannel_backend="none")), Role.SERVER)
    assert check.status is Status.UNPROVEN
    assert list(unproven_pods("s1", parsed(), Role.SERVER)) == []


def test_a_row_for_an_etcd_that_does_not_exist_is_said():
    without_etcd = k3s(5001, 6443, 10250)
    (sqlite,) = found(without_etcd, datastore=Datastore.SQLITE)
    assert "SQLite" in sqlite.problem.text
    (unknown,) = found(without_etcd, datastore=Datastore.UNKNOWN)
    # Another server may have one: the line alone would close it there.
    assert unknown.problem.fix.startswith("if no server")
    tree = merged(pillar(), unknown)
    assert found(without_etcd, tree=tree, datastore=Datastore.UNKNOWN) == ()
    # Neither before K3s runs, nor where etcd lies on disk and is down.
    assert found([], datastore=Datastore.SQLITE) == ()
    assert found(without_etcd, datastore=Datastore.ETCD) == ()


def test_a_contradiction_is_a_conflict_of_this_node():
    (contradiction,) = found(k3s(5001, 6443, 10250), datastore=Datastore.SQLITE)
    check = contradiction.as_check("s1")
    assert (check.status, check.to, check.by) == (Status.CONFLICT, "s1", "s1")
    assert (check.protocol, check.port) == ("tcp", "2379,2380")


# -- what serves a row ----------------------------------------------------------------------------


def served(name, listeners=(), **services):
    index = [each[0] for each in CLUSTER_TABLE].index(name)
    rows = {each.name: each for each in parsed().rows}
    return served_by(rows[CLUSTER_TABLE[index][0]], NodeServices(tuple(listeners), **services))


def test_what_serves_a_row_is_named():
    assert served("etcd", k3s(2379, 2380)) == ("k3s-server on 2379", "k3s-server on 2380")
    tunnel = [Listener(Protocol.UDP, 8472, "kernel")]
    assert served("vxlan", tunnel, overlay=vxlan(8472)) == ("flannel.1 on 8472",)
    assert served("vxlan", tunnel) == ("kernel on 8472",)
    lb = Redirection(Protocol.TCP, PortRange(80, 80), 4, "ServiceLB", "kube-system/traefik:web")
    assert served("http", redirected=(lb,)) == ("ServiceLB of kube-system/traefik:web",)
    assert served("longhorn-api") == ()


def test_a_protocol_without_ports_is_served_by_the_tunnel_of_its_kind():
    tree = changed("ports:cluster:calico", row("ipip", None, "any", "any"))
    (ipip,) = (each for each in parsed(tree).rows if each.name == "calico")
    overlay = OverlayFacts((OverlayDevice("tunl0", "ipip"), OverlayDevice("flannel.1", "vxlan")))
    assert served_by(ipip, NodeServices((), overlay=overlay)) == ("tunl0",)
