"""check_ports on one node: every row gets a verdict that its own rules and listeners bear out."""

from __future__ import annotations

import json

import pytest

from k3sfw_engine.checks.ports.row_in_layers import check_rows
from k3sfw_engine.checks.report import RETCODES, Report
from k3sfw_engine.checks.verdicts import Status
from k3sfw_engine.model.firewall_objects import CONTENT, Kind, in_order
from k3sfw_engine.model.listeners import Listener
from k3sfw_engine.model.nat import Redirection
from k3sfw_engine.model.node_services import NodeServices
from k3sfw_engine.model.rich_rules import read_rule
from k3sfw_engine.model.rows import PortRange, Protocol
from k3sfw_engine.plan.make_plan import make_plan
from tests.unit.drifted_hosts import NEW_GROUP, settled
from tests.unit.samples import changed, pillar, wanted

EVERY_PORT = [
    Listener(protocol, port, "k3s")
    for protocol in (Protocol.TCP, Protocol.UDP)
    for port in (2379, 6443, 8472, 10250, 5001, 9500, 8500, 80, 443, 3000, 9095, 9093, 9090, 6379)
]
ETCD = 'rule family="ipv4" source ipset="k3s-server-4" port port="2379-2380" protocol="tcp" accept'
REDIS = 'rule family="ipv4" port port="6379" protocol="tcp" accept'


def checked(host, tree=None, listeners=EVERY_PORT, redirected=(), **options):
    plan = make_plan(wanted(tree), host.observed())
    options = {"kernel_read": True, **options}
    services = NodeServices(tuple(listeners), tuple(redirected))
    return check_rows("s1", wanted(tree), plan.differences, services, **options)


def report(checks, *, full):
    return Report(tuple(checks), "this node only, no packets sent").as_dict(full=full)


def statuses(checks):
    """``{port: statuses}`` of the checks that are not ok."""
    found = {}
    for check in checks:
        if check.status is not Status.OK:
            found.setdefault(check.port, set()).add(check.status.value)
    return found


def change(host, layer, kind, name, **new):
    objects = getattr(host, layer)
    objects[kind, name] = objects[kind, name].with_settings(new)


def take(host, layer, kind, name, item):
    objects = getattr(host, layer)
    items = tuple(each for each in objects[kind, name].content if str(each) != item)
    change(host, layer, kind, name, **{CONTENT[kind]: items})


def add(host, layer, kind, name, item):
    items = getattr(host, layer)[kind, name].content
    added = read_rule(item) if kind is Kind.POLICY else item
    change(host, layer, kind, name, **{CONTENT[kind]: in_order((*items, added))})


@pytest.fixture
def host():
    return settled(wanted().objects)


def test_every_row_of_the_node_is_asked_once(host):
    checks = checked(host)
    assert len(checks) == 17
    assert sorted((check.protocol, check.port) for check in checks) == sorted(
        [("tcp", "2379-2380"), ("tcp", "6443"), ("udp", "8472"), ("tcp", "10250"), ("tcp", "5001")]
        + [("tcp", "9500"), ("tcp", "8500"), ("any", ""), ("any", ""), ("tcp", "80")]
        + [("tcp", "443"), ("tcp", "443"), ("tcp", "3000"), ("tcp", "9095"), ("tcp", "9093")]
        + [("tcp", "9090"), ("tcp", "6379")]
    )


def test_what_is_in_force_everywhere_and_listened_to_is_ok(host):
    checks = checked(host)
    assert statuses(checks) == {}
    result = report(checks, full=False)
    assert result == {
        "status": "OK",
        "summary": "17 of 17 checks ok (this node only, no packets sent)",
        "problems": [],
        "counts": {"ok": 17},
    }


def test_the_listener_is_named(host):
    checks = checked(host, listeners=[Listener(Protocol.TCP, 6379, "redis-server")])
    (redis,) = [check for check in checks if check.port == "6379"]
    assert redis.evidence == "in force in every layer; listening: redis-server on 6379"


def test_a_row_without_a_listener_is_a_warning_and_not_a_failure(host):
    checks = checked(host, listeners=[each for each in EVERY_PORT if each.port != 6379])
    assert statuses(checks) == {"6379": {"no_listener"}}
    assert report(checks, full=False)["status"] == "WARN"


def test_what_kubernetes_redirects_needs_no_listener(host):
    listeners = [each for each in EVERY_PORT if each.port not in (6379, 443)]
    port = PortRange(443, 443)
    redirected = [
        Redirection(Protocol.TCP, port, 4, "ServiceLB", "kube-system/traefik:websecure"),
        Redirection(Protocol.TCP, port, 4, "hostPort"),
        Redirection(Protocol.UDP, PortRange(6379, 6379), 4, "NodePort"),
    ]
    checks = checked(host, listeners=listeners, redirected=redirected)
    assert statuses(checks) == {"6379": {"no_listener"}}
    assert {check.evidence for check in checks if check.port == "443"} == {
        "in force in every layer; served by redirection (ServiceLB of "
        "kube-system/traefik:websecure, hostPort)"
    }


def test_a_listener_of_another_protocol_or_port_does_not_count(host):
    others = [Listener(Protocol.UDP, 6379, "x"), Listener(Protocol.TCP, 6378, "x")]
    listeners = [each for each in EVERY_PORT if each.port != 6379] + others
    assert statuses(checked(host, listeners=listeners)) == {"6379": {"no_listener"}}


def test_pods_and_services_need_no_listener(host):
    assert "" not in statuses(checked(host, listeners=[]))


def test_where_the_kernel_cannot_be_read_nothing_is_proven(host):
    checks = checked(host, kernel_read=False)
    assert {check.status for check in checks} == {Status.UNPROVEN}
    assert report(checks, full=False)["status"] == "WARN"


# -- what blocks a row ----------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["runtime", "permanent"])
def test_a_rule_that_one_layer_lacks_blocks_its_row_and_no_other(host, layer):
    take(host, layer, Kind.POLICY, "k3s-rows", REDIS)
    checks = checked(host)
    assert statuses(checks) == {"6379": {"blocked"}}
    assert checks[0].by == f"s1 ({layer})"
    assert checks[0].evidence == f"{layer}: policy k3s-rows lacks rich_rules {REDIS}"
    assert checks[0].hint == "salt s1 state.apply k3s.firewall"
    assert report(checks, full=False)["status"] == "FAIL"


def test_a_rule_that_the_kernel_lost_blocks_its_row(host):
    host.kernel_lost = {
        fact for fact in _facts(host) if fact.respect == "rich_rules" and str(fact.value) == REDIS
    }
    checks = checked(host)
    assert statuses(checks) == {"6379": {"blocked"}}
    assert checks[0].by == "s1 (kernel)"


def _facts(host):
    return host.observed().kernel.facts


def test_a_member_that_an_ipset_lacks_blocks_the_rows_of_that_ipset_and_no_other(host):
    take(host, "runtime", Kind.IPSET, "k3s-server-4", "192.0.2.12")
    assert statuses(checked(host)) == {"2379-2380": {"blocked"}}


@pytest.mark.parametrize(
    ("kind", "name", "ports"),
    [
        (Kind.IPSET, "k3s-server-4", {"2379-2380"}),
        (Kind.ZONE, "k3s", {""}),
        (Kind.POLICY, "k3s-pods-to-host", {""}),
        (Kind.POLICY, "k3s-pods-to-any", {""}),
    ],
)
def test_an_object_that_is_gone_blocks_its_rows_and_no_other(host, kind, name, ports):
    del host.permanent[kind, name]
    checks = checked(host)
    assert set(statuses(checks)) == ports
    assert all(
        f"{kind.value} {name} is missing" in check.evidence for check in checks[: len(ports)]
    )


def test_a_lost_interface_blocks_the_rows_of_pods(host):
    take(host, "runtime", Kind.ZONE, "k3s", "cni0")
    assert statuses(checked(host)) == {"": {"blocked"}}


@pytest.mark.parametrize("setting", ["short", "description"])
def test_an_edited_text_of_an_object_blocks_no_row(host, setting):
    text = host.permanent[Kind.POLICY, "k3s-rows"].settings["description"] + " (checked)"
    change(host, "permanent", Kind.POLICY, "k3s-rows", **{setting: text})
    assert statuses(checked(host)) == {}


def test_a_row_for_a_group_that_lives_by_addresses_is_ok_as_long_as_they_are_there(host):
    list(host.run(make_plan(wanted(NEW_GROUP), host.observed())))
    assert statuses(checked(host, NEW_GROUP)) == {}
    by_address = 'rule family="ipv4" source address="203.0.113.0/24" port port="3000" '
    take(host, "runtime", Kind.POLICY, "k3s-rows", by_address + 'protocol="tcp" accept')
    assert statuses(checked(host, NEW_GROUP)) == {"3000": {"blocked"}}


# -- what is open and should not be ---------------------------------------------------------------


@pytest.mark.parametrize("layer", ["runtime", "permanent"])
@pytest.mark.parametrize(
    ("kind", "name", "item"),
    [
        (Kind.POLICY, "k3s-rows", 'rule family="ipv4" port port="22" protocol="tcp" accept'),
        (Kind.IPSET, "k3s-server-4", "192.0.2.21"),
        (Kind.ZONE, "k3s", "eth9"),
    ],
)
def test_what_no_row_asks_for_is_exposed_and_worst(host, layer, kind, name, item):
    add(host, layer, kind, name, item)
    checks = checked(host)
    assert checks[0].status is Status.EXPOSED
    assert checks[0].by == f"s1 ({layer})"
    assert item in checks[0].evidence
    assert [check for check in checks if check.status is Status.BLOCKED] == []
    assert report(checks, full=False)["status"] == "FAIL"


def test_a_port_or_a_service_added_to_our_policy_is_exposed(host):
    change(host, "runtime", Kind.POLICY, "k3s-rows", ports=("22/tcp",), services=("ssh",))
    exposed = [check for check in checked(host) if check.status is Status.EXPOSED]
    assert sorted(check.evidence.split("for: ")[1] for check in exposed) == ["22/tcp", "ssh"]


def test_a_policy_that_was_set_to_accept_everything_is_exposed_and_not_blocked(host):
    change(host, "permanent", Kind.POLICY, "k3s-rows", target="ACCEPT")
    verdicts = {check.status for check in checked(host)}
    assert Status.EXPOSED in verdicts
    assert Status.BLOCKED not in verdicts


def test_masquerading_that_no_row_asks_for_blocks_no_row(host):
    change(host, "runtime", Kind.POLICY, "k3s-rows", masquerade=True)
    assert Status.BLOCKED not in {check.status for check in checked(host)}


# -- the report -----------------------------------------------------------------------------------


def test_the_worst_comes_first_and_the_counts_add_up(host):
    take(host, "runtime", Kind.POLICY, "k3s-rows", ETCD)
    add(host, "permanent", Kind.IPSET, "k3s-node-4", "203.0.113.6")
    checks = checked(host, listeners=EVERY_PORT[:3])
    order = list(Status)
    ranks = [order.index(check.status) for check in checks]
    assert ranks == sorted(ranks)
    result = report(checks, full=True)
    assert result["status"] == "FAIL"
    assert sum(result["counts"].values()) == len(checks) == len(result["checks"])
    assert result["problems"][0].startswith("exposed")
    assert result["problems"][1].startswith("blocked tcp/2379-2380 server -> s1: ")


def test_every_problem_is_a_sentence_with_the_command_that_fixes_it(host):
    take(host, "runtime", Kind.POLICY, "k3s-rows", ETCD)
    add(host, "permanent", Kind.IPSET, "k3s-node-4", "203.0.113.6")
    for problem in report(checked(host, listeners=[]), full=False)["problems"]:
        assert ". Fix: " in problem
        assert "  " not in problem
        assert problem.isprintable()


def test_one_cause_is_one_problem_however_many_rows_it_concerns(host):
    del host.permanent[Kind.POLICY, "k3s-rows"]
    problems = report(checked(host), full=False)["problems"]
    assert len([problem for problem in problems if problem.startswith("blocked")]) == 1


def test_a_full_report_is_flat_rows_of_texts(host):
    rows = report(checked(host), full=True)["checks"]
    for row in rows:
        assert list(row) == [
            "from",
            "to",
            "address",
            "protocol",
            "port",
            "description",
            "expect",
            "status",
            "by",
            "evidence",
            "hint",
        ]
        assert {type(value) for value in row.values()} == {str}
    assert json.loads(json.dumps(rows)) == rows


def test_without_rows_there_is_no_problem():
    empty = pillar(ports={"cluster": {}, "manager": {}})
    host = settled(wanted(empty).objects)
    assert report(checked(host, empty), full=False)["status"] == "OK"


def test_a_row_without_a_description_is_called_by_its_name():
    tree = changed("ports:manager:loki", {"protocol": "tcp", "port": 3100})
    checks = checked(settled(wanted(tree).objects), tree)
    (loki,) = [check for check in checks if check.port == "3100"]
    assert loki.description == "loki"


def test_every_status_has_its_return_code():
    assert RETCODES == {"OK": 0, "WARN": 1, "FAIL": 2, "UNKNOWN": 3}
