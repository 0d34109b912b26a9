"""The members of the cluster, and what the operator's own pillar file changes."""

import json
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from tests.cluster.claims import claimed
from tests.cluster.packets import reach
from tests.cluster.packets.tables import PORTS, ROWS, is_listed, opened_by
from tests.paths import PILLAR
from tests.reload_counter import counting_reloads

pytestmark = pytest.mark.cluster

# The server and the agent that are asked.
ASKED = ("s1", "a1")


def test_every_node_knows_exactly_the_nodes_of_its_cluster(applied):
    everyone = {
        name: {"role": host.role, "addresses": [host.ipv4, host.ipv6]}
        for name, host in applied.nodes.items()
    }
    assert applied.salt("*", "k3sfw.nodes") == dict.fromkeys(everyone, everyone)


def test_a_minion_of_another_cluster_is_not_a_node_of_this_one(applied, packets):
    with claimed(applied, "a2", "k3s_cluster", "other"):
        applied.converge(*ASKED, "a2")
        known = applied.salt(["s1", "a2"], "k3sfw.nodes")
        assert set(known["s1"]) == set(applied.nodes) - {"a2"}
        assert set(known["a2"]) == {"a2"}
        as_outsider = replace(reach.host_as_source(applied.host("a2")), kind="outsider")
        packets.check(is_listed, as_outsider)


def test_a_node_that_claims_another_role_than_its_pin_gains_nothing_and_is_refused(
    applied, packets
):
    pin = {"k3s": {"nodes": {"a2": {"role": "agent"}}}}
    with applied.site(pin), claimed(applied, "a2", "k3s_role", "server"):
        returned = applied.apply([*ASKED, "a2"])
        refused = returned.pop("a2")
        assert refused["result"] is False
        assert refused["changes"] == {}
        assert "pillar says agent and the grain k3s_role of the node says" in refused["comment"]
        assert {state["result"] for state in returned.values()} == {True}
        assert applied.salt(["s1"], "k3sfw.nodes")["s1"]["a2"]["role"] == "agent"
        packets.check(is_listed)


def test_disabling_http_closes_port_80_and_nothing_else(applied, packets):
    with applied_with(applied, {"ports": {"cluster": {"http": {"enabled": False}}}}):
        packets.check(opened_by([row for row in ROWS if row[1] != "80"]))


# Of the other backends' rows the tests of WireGuard and of the paths show that they are in force.
@pytest.mark.exhaustive
def test_the_wireguard_backend_opens_its_ports_instead_of_vxlan(applied, packets):
    wireguard = ("UDP", "51820-51821", "Any", "Any")
    with applied_with(applied, {"flannel_backend": "wireguard-native"}):
        packets.check(opened_by([*WITHOUT_VXLAN, wireguard]))


@pytest.mark.exhaustive
def test_the_host_gw_backend_has_no_port_of_its_own(applied, packets):
    with applied_with(applied, {"flannel_backend": "host-gw"}):
        packets.check(opened_by(WITHOUT_VXLAN))


def test_clients_narrowed_to_networks_close_the_manager_to_all_others(applied, packets):
    nodes_only = ["192.0.2.0/26", "2001:db8::/122"]
    with applied_with(applied, {"groups": {"clients": nodes_only}}):
        packets.check(opened_by(ROWS, clients=("server", "agent")))


def test_on_a_master_that_adds_lists_up_the_site_still_replaces_the_defaults(applied, packets):
    nodes_only = ["192.0.2.0/26", "2001:db8::/122"]
    with (
        applied.master_with(pillar_merge_lists=True),
        applied_with(applied, {"groups": {"clients": nodes_only}}),
    ):
        # Redis was open to every host that is not a client.
        packets.check(opened_by(ROWS, clients=("server", "agent")))


PIN = ["192.0.2.21", "2001:db8::21"]
SITE = {
    "groups": {"clients": ["192.0.2.0/26"]},
    "nodes": {"a1": {"addresses": PIN}},
    "pod_cidrs": ["10.244.0.0/16"],
    "ports": {"manager": {"kafka": {"enabled": False}, "redis": {"source": ["clients", "pods"]}}},
}


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "settings",
    [
        {"pillar_merge_lists": True},
        {"pillar_source_merging_strategy": "recurse", "pillar_merge_lists": True},
        {"pillar_source_merging_strategy": "aggregate"},
        {"pillar_source_merging_strategy": "overwrite"},
        {"pillar_source_merging_strategy": "none"},
        {"ext_pillar_first": True, "ext_pillar": [{"cmd_yaml": "echo {}"}]},
        {"pillarenv_from_saltenv": True},
        {"pillar_roots": {"base": ["/srv/pillar", str(PILLAR)], "site": ["/srv/pillar-of-site"]}},
    ],
    ids=str,
)
def test_the_site_wins_on_a_master_with(settings, applied):
    own = applied.host("m").path("/srv/pillar-of-site")
    in_environment = "pillar_roots" in settings
    if in_environment:
        own.mkdir()
        (own / "top.sls").write_text("site: {'*': [own]}")
        (own / "own.sls").write_text(json.dumps({"k3s": SITE}))
    with (
        applied.master_with(**settings),
        claimed(applied, "a1", "k3s_node_ips", [*PIN, "192.0.2.66"]),
        applied.site(None if in_environment else {"k3s": SITE}),
    ):
        assert applied.apply(["s1"], test=True)["s1"]["result"] is None
        assert applied.salt(["s1"], "k3sfw.nodes")["s1"]["a1"]["addresses"] == PIN
        rows = {row["name"]: row for row in applied.salt(["s1"], "k3sfw.rows")["s1"]}
        assert "kafka" not in rows and {"etcd", "grafana", "redis"} <= set(rows)
        assert rows["redis"]["source"] == "clients,pods"
        script = applied.salt(["s1"], "k3sfw.script")["s1"]
        assert "192.0.2.0/26" in script and "192.0.2.66" not in script
        redis = [line for line in script.splitlines() if '"6379"' in line]
        assert redis and all("source" in line for line in redis)
        assert "10.244.0.0/16" in script and "10.42.0.0/16" not in script


WITHOUT_VXLAN = [row for row in ROWS if row[1] != "8472"]


@pytest.fixture(scope="module")
def packets(cluster):
    """A server and an agent that answer on all ports, asked by every kind of host."""
    with ExitStack() as stack:
        targets = [cluster.host(name) for name in ASKED]
        for host in targets:
            stack.enter_context(reach.responding(host, PORTS))
        yield Packets([cluster.host(name) for name in ("s2", "a2", "out")], targets)


class Packets:
    """Some hosts, and the nodes that they ask."""

    def __init__(self, hosts, targets):
        self._sources = [reach.host_as_source(host) for host in hosts]
        self._targets = targets

    def check(self, is_open, *sources):
        """Fail unless exactly this is open to these sources, or to the hosts."""
        reach.check(reach.pairs(sources or self._sources, self._targets), PORTS, is_open)


@contextmanager
def applied_with(cluster, k3s):
    """Write the operator's pillar file, and apply it without a reload on the target nodes."""
    with cluster.site({"k3s": k3s}), counting_reloads(cluster.nodes) as reloads:
        cluster.converge(*ASKED)
        assert set(reloads().values()) == {0}
        yield
