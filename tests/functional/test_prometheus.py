"""Real Prometheus and node_exporter: nodes are scraped, alerts fire and clear."""

import copy
import json
from dataclasses import replace

import pytest
import yaml

from k3sfw_engine.fleet.forms.prometheus import write_cluster_metrics
from lab.errors import LabError
from lab.spec import HostSpec
from lab.wait import wait_until
from tests.functional.hosts import OUTSIDER, SERVER, Node, standing
from tests.functional.prometheus_server import RULES, node_exporter, prometheus
from tests.paths import ROOT
from tests.simulated_fleet import Fault, simulated_fleet

FOLDER = "/var/lib/prometheus/node-exporter"
HOSTS = (SERVER, HostSpec("s2", "server", 12), OUTSIDER)
ON = {"metrics": {"enabled": True}}
SCHEDULED = {**ON, "schedule": {"enabled": True, "check": 600}}
MOST_SERIES = 100


class Monitored:
    """Two applied nodes, and a host outside that scrapes them and itself."""

    def __init__(self, nodes, pillar, server):
        self.nodes, self.pillar, self.server = nodes, pillar, server

    def check(self, name, pillar=None, peers=1):
        return self.nodes[name].call("measured_check", pillar or self.pillar, peers=peers)

    def apply(self, name, pillar=None, **options):
        return self.nodes[name].call("apply", pillar or self.pillar, **options)

    def fires(self, alert, node):
        missing = f"{alert} of {node} does not fire"
        wait_until(lambda: (alert, node) in self.server.firing(), missing, timeout=30)

    def is_silent(self):
        left = self.server.firing

        def is_clear():
            return not left()

        try:
            wait_until(is_clear, "the alerts do not clear", timeout=30)
        except LabError:
            assert left() == set()


@pytest.fixture(scope="module")
def monitored():
    with standing("prom", HOSTS) as lab:
        hosts = {spec.name: lab.host(spec.name) for spec in HOSTS}
        out = hosts["out"]
        exporter = {"protocol": "tcp", "port": 9100, "source": "monitoring", "destination": "any"}
        redis = {"protocol": "tcp", "port": 6379, "source": "any", "destination": "any"}
        pillar = {
            "groups": {"monitoring": [f"{out.ipv4}/32"]},
            "ports": {"cluster": {"exporter": exporter, "redis": redis}, "manager": {}},
            "nodes": {
                name: {"role": "server", "addresses": [hosts[name].ipv4]} for name in ("s1", "s2")
            },
            "firewall": {"allow_lockout": True},
        }
        nodes = {name: Node(hosts[name]) for name in ("s1", "s2")}
        for node in nodes.values():
            node.run("mkdir", "-p", FOLDER)
            node.call("apply", pillar)
            node.call("metrics", ON)
        out.run(["mkdir", "-p", FOLDER])
        fleet = replace(simulated_fleet(5, [Fault("rejects", "a1", "9500")]), cluster="default")
        out.path(f"{FOLDER}/cluster.prom").write_text(write_cluster_metrics(fleet))
        with (
            node_exporter(hosts["s1"]),
            node_exporter(hosts["s2"]),
            node_exporter(out),
            prometheus(out, *hosts.values()) as server,
        ):
            found = Monitored(nodes, pillar, server)
            for name in nodes:
                found.check(name)
            found.is_silent()
            yield found


def test_every_host_is_scraped_and_no_file_is_refused(monitored):
    assert [value for _labels, value in monitored.server.query("up")] == [1] * len(HOSTS)
    errors = monitored.server.query("node_textfile_scrape_error")
    assert [value for _labels, value in errors] == [0] * len(HOSTS)
    nodes = monitored.server.query("k3sfw_node_info")
    assert {labels["node"] for labels, _value in nodes} == {"s1", "s2"}


def test_the_series_of_a_node_are_bounded(monitored):
    counts = monitored.server.query('count by (instance) ({__name__=~"k3sfw_.+"})')
    assert counts and max(value for _labels, value in counts) <= MOST_SERIES


def test_every_query_of_the_dashboard_and_the_rules_finds_its_metrics(monitored):
    dashboard = json.loads((ROOT / "monitoring/grafana-k3sfw.json").read_text())
    targets = [target for panel in dashboard["panels"] for target in panel.get("targets", ())]
    # What only shows what is wrong or old finds nothing where all is well.
    may_be_empty = (" > 0", "topk(")
    for target in targets:
        text = target["expr"].replace("$cluster", "default").replace("$role", ".*")
        found = monitored.server.query(text)
        assert found or any(each in text for each in may_be_empty), text
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    for rule in group["rules"]:
        monitored.server.query(rule["expr"])
    loaded = monitored.server.get("rules")["data"]["groups"][0]["rules"]
    assert {each["health"] for each in loaded} == {"ok"}
    assert len(loaded) == len(group["rules"])


def test_drift_and_the_port_that_it_blocks_are_told_until_they_are_corrected(monitored):
    node = monitored.nodes["s1"]
    rules = node.firewall_cmd("--policy=k3s-rows", "--list-rich-rules").splitlines()
    for rule in (each for each in rules if "6379" in each):
        node.firewall_cmd("--policy=k3s-rows", f"--remove-rich-rule={rule}")
    monitored.check("s1")
    monitored.fires("K3sfwDrift", "s1")
    monitored.fires("K3sfwPortBlocked", "s1")
    # The peer sees it from outside.
    monitored.check("s2")
    monitored.fires("K3sfwPortBlocked", "s2")
    monitored.apply("s1")
    monitored.check("s1")
    monitored.check("s2")
    monitored.is_silent()


def test_a_port_that_another_zone_opens_is_told_until_it_is_closed(monitored):
    monitored.nodes["s2"].firewall_cmd("--add-port=1024-65535/tcp")
    try:
        monitored.check("s1")
        monitored.fires("K3sfwPortExposed", "s1")
    finally:
        monitored.nodes["s2"].firewall_cmd("--remove-port=1024-65535/tcp")
    monitored.check("s1")
    monitored.is_silent()


def test_a_scheduled_check_that_was_never_done_is_told(monitored):
    monitored.nodes["s1"].call("metrics", SCHEDULED)
    # Only the check of ports was done here.
    monitored.fires("K3sfwCheckStale", "s1")
    stale = monitored.server.query('ALERTS{alertname="K3sfwCheckStale", alertstate="firing"}')
    assert {labels["check"] for labels, _value in stale} == {"routes", "zones"}
    monitored.nodes["s1"].call("metrics", ON)
    monitored.is_silent()


def test_a_broken_promise_is_told_until_it_is_kept(monitored):
    promise = {"from": "any", "to": "any", "deny": ["tcp/6379"]}
    strict = {**monitored.pillar, "tests": {"redis_is_closed": promise}}
    monitored.check("s1", strict)
    monitored.fires("K3sfwTestBroken", "s1")
    monitored.check("s1")
    monitored.is_silent()


def test_nodes_with_different_tables_are_told(monitored):
    other = copy.deepcopy(monitored.pillar)
    other["groups"]["admins"] = ["198.51.100.0/28"]
    monitored.check("s2", other)
    monitored.fires("K3sfwTablesDiffer", "")
    monitored.check("s2")
    monitored.is_silent()


def test_a_file_that_disappears_is_told(monitored):
    monitored.nodes["s2"].call("remove_metrics")
    monitored.fires("K3sfwMetricsAbsent", "s2")
    monitored.nodes["s2"].call("metrics", ON)
    monitored.check("s2")
    wait_until(
        lambda: ("K3sfwMetricsAbsent", "s2") not in monitored.server.firing(),
        "the alert does not clear",
        timeout=30,
    )


def test_a_change_that_is_about_to_be_undone_is_told_and_so_is_its_end(monitored):
    wider = copy.deepcopy(monitored.pillar)
    wider["ports"]["cluster"]["more"] = {**wider["ports"]["cluster"]["redis"], "port": 6380}
    monitored.apply("s1", wider, confirm_within=8)
    monitored.check("s1", wider)
    monitored.fires("K3sfwChangeUnconfirmed", "s1")
    node = monitored.nodes["s1"]
    wait_until(
        lambda: node.call("history")[0]["outcome"].startswith("undone"),
        "the change is not undone",
        timeout=60,
    )
    monitored.check("s1")
    monitored.fires("K3sfwChangeUndone", "s1")
    assert ("K3sfwChangeUnconfirmed", "s1") not in monitored.server.firing()


@pytest.mark.parametrize("name", ['"} 1\nk3sfw_forged 1', "a\\b\u202e{}"])
def test_a_hostile_name_stays_a_label(monitored, name):
    monitored.nodes["s2"].call("metrics", ON, name=name)
    try:
        wait_until(
            lambda: (
                name in {labels["node"] for labels, _ in monitored.server.query("k3sfw_node_info")}
            ),
            "the name is not read back as it was",
            timeout=30,
        )
        errors = monitored.server.query("node_textfile_scrape_error")
        assert {value for _labels, value in errors} == {0}
        assert "k3sfw_forged" not in monitored.server.names()
    finally:
        monitored.nodes["s2"].call("metrics", ON)
