"""What a node runs contradicts its pillar: the check says so, and its line ends it."""

import copy
import subprocess
from contextlib import contextmanager

import yaml

from tests.functional.listeners import ACCEPT, PYTHON

DATABASE = "/var/lib/rancher/k3s/server/db"
LINE = "Fix: write into site.sls on the master: "


@contextmanager
def k3s(host, name, *ports):
    """Listen under the name of K3s's process."""
    named = f"open('/proc/self/comm', 'w').write({name!r})\n{ACCEPT}"
    command = [*PYTHON, "-c", named, *map(str, ports)]
    with host.popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == "listening\n"
            yield
        finally:
            process.kill()


def conflicts(node, pillar, role="server"):
    answer = node.call("check_ports", pillar, role=role)
    return [each for each in answer["problems"] if each.startswith("conflict")]


def with_line(pillar, problem):
    """The pillar after the line of the fix was copied into the site."""

    def merge(old, new):
        for key, value in new.items():
            both = isinstance(value, dict) and isinstance(old.get(key), dict)
            old[key] = merge(old[key], value) if both else value
        return old

    _before, found, text = problem.partition(LINE)
    assert found, problem
    return merge(copy.deepcopy(pillar), yaml.safe_load(text)["k3s"])


def test_a_tunnel_on_another_port_is_found_in_the_kernel(node, pillar):
    node.call("apply", pillar)
    command = "ip link add flannel.42 type vxlan id 42 dstport 4789 dev eth0 local 192.0.2.11"
    node.run("sh", "-c", command)
    (problem,) = conflicts(node, pillar)
    assert "flannel.42 receives on udp/4789" in problem
    pillar = with_line(pillar, problem)
    node.call("apply", pillar)
    assert conflicts(node, pillar) == []


def test_an_api_on_another_port_is_found_by_its_process(node, pillar):
    pillar["ports"]["cluster"]["supervisor"] = {
        "protocol": "tcp",
        "port": 6443,
        "source": "any",
        "destination": "server",
    }
    node.path(f"{DATABASE}/etcd").mkdir(parents=True, exist_ok=True)
    node.call("apply", pillar)
    with k3s(node.host, "k3s-server", 2379, 2380, 7443, 10250):
        (problem,) = conflicts(node, pillar)
        assert "k3s-server listens on tcp/7443" in problem
        pillar = with_line(pillar, problem)
        node.call("apply", pillar)
        assert conflicts(node, pillar) == []


def test_a_server_with_sqlite_needs_no_row_for_etcd(node, pillar):
    node.run("sh", "-ec", f"rm -rf {DATABASE}; mkdir -p {DATABASE}; touch {DATABASE}/state.db")
    with k3s(node.host, "k3s-server", 10250):
        (problem,) = conflicts(node, pillar)
        assert "SQLite" in problem
        assert conflicts(node, with_line(pillar, problem)) == []
