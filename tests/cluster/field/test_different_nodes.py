"""A cluster in which no node is like another has the rules of its tables on each of them."""

from contextlib import ExitStack

import pytest

from lab import other_software
from lab.k3s import start
from lab.wait import wait_until
from tests.cluster.field.different_nodes import HOSTS, VIRTUAL
from tests.cluster.packets import reach
from tests.cluster.packets.reach import Source, Target
from tests.cluster.packets.tables import is_listed
from tests.cluster.salt_views import has_redis_rule, take_redis_rule
from tests.reload_counter import counting_reloads

pytestmark = pytest.mark.cluster

NODES = {spec.name: spec for spec in HOSTS if spec.is_node}
# etcd, the API, the kubelet, the embedded registry, the overlay, a client's port and one of no row.
PORTS = {2379, 2380, 6443, 10250, 5001, 8472, 6379, 4000}
SCHEDULED = {"k3s": {"schedule": {"interval": 86400, "splay": 0, "heal": 86400}}}
OFF = {"k3s": {"schedule": {"enabled": False}}}


def test_each_node_has_the_role_that_its_k3s_runs_and_the_address_that_peers_see(applied):
    for asked, nodes in applied.salt("*", "k3sfw.nodes").items():
        found = {name: (node["role"], node["addresses"]) for name, node in nodes.items()}
        assert found == {name: (spec.role, seen(spec)) for name, spec in NODES.items()}, asked


def seen(spec):
    """The addresses of a node: of flannel-iface, K3s takes the one of each family."""
    by_card = "--flannel-iface=eth0" in spec.installation.flags
    return [spec.ipv4, spec.ipv6] if by_card else [spec.ipv4]


def test_exactly_the_sources_of_the_rows_reach_their_ports_on_every_node(applied):
    hosts = [applied.host("out"), *applied.nodes.values()]
    pairs = [
        (_as_source(source), Target(target.name, target.role, (target.ipv4,)))
        for source in hosts
        for target in applied.nodes.values()
        if source.name != target.name
    ]
    with ExitStack() as stack:
        for host in applied.nodes.values():
            stack.enter_context(reach.responding_as(host.name, host, (host.ipv4,), PORTS))
        reach.check(pairs, PORTS, is_listed)


def _as_source(host):
    kind = "outsider" if host.role == "plain" else host.role
    return Source(host.name, kind, host, (host.ipv4,))


def test_a_second_apply_changes_nothing_on_any_node(applied):
    with counting_reloads(applied.nodes) as reloads:
        returned = applied.apply()
        assert {name: state["changes"] for name, state in returned.items()} == {
            name: {} for name in NODES
        }
        assert set(reloads().values()) == {0}


def test_a_scheduled_run_puts_a_removed_rule_back_on_every_node(applied):
    try:
        with applied.site(SCHEDULED):
            applied.salt("*", "state.apply", "k3s.schedule")
            for host in applied.nodes.values():
                take_redis_rule(host)
            # What the schedule does when its time has come.
            applied.salt("*", "schedule.run_job", "k3s_highstate", force=True)
            for name, host in applied.nodes.items():
                wait_until(lambda host=host: has_redis_rule(host), f"no rule: {name}", timeout=180)
    finally:
        # The rule is back before the run ends, and another run would not begin.
        wait_until(lambda: not any(state_runs(applied)), "runs of states do not end", timeout=180)
        with applied.site(OFF):
            applied.salt("*", "state.apply", "k3s.schedule")


def state_runs(cluster):
    """The runs of states that are under way on each node."""
    return cluster.salt("*", "saltutil.is_running", "state.*").values()


@pytest.fixture
def running(applied):
    """The cluster with everything that K3s makes of its nodes."""
    start.start(applied.lab)
    applied.salt("*", "saltutil.refresh_grains")
    applied.salt("*", "saltutil.refresh_pillar", wait=True)
    applied.converge()
    try:
        yield applied
    finally:
        start.stop(applied.lab)
        applied.salt("*", "saltutil.refresh_grains")


def test_every_check_is_ok_on_every_node(running):
    assert problems(running) == {}


@pytest.mark.exhaustive
def test_an_address_that_moves_to_another_node_changes_nothing(running):
    before = running.salt("s1", "k3sfw.nodes")["s1"]
    out = running.host("out")
    with other_software.virtual_address(running.host("s1"), VIRTUAL):
        running.host("s2").run(["ip", "address", "delete", f"{VIRTUAL}/32", "dev", "eth0"])
        try:
            out.run(["ip", "neighbour", "flush", "to", VIRTUAL])
            assert problems(running) == {}
            running.salt("*", "saltutil.refresh_grains")
            running.salt("*", "saltutil.refresh_pillar", wait=True)
            assert running.salt("s1", "k3sfw.nodes")["s1"] == before
            assert {state["result"] for state in running.apply().values()} == {True}
            assert {str(state["changes"]) for state in running.apply().values()} == {"{}"}
        finally:
            running.host("s2").run(["ip", "address", "add", f"{VIRTUAL}/32", "dev", "eth0"])


def problems(cluster):
    """What the checks find on any node."""
    found = {}
    for check in ("check_ports", "check_routes", "check_zones"):
        for name, report in cluster.salt("*", f"k3sfw.{check}").items():
            if not isinstance(report, dict) or report["status"] != "OK":
                found[name, check] = report
    return found
