"""Services of a real cluster through the rules: etcd, redis, and pods of several nodes."""

import base64
import json
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from lab.errors import CommandFailed
from lab.k3s import flannel
from lab.k3s.addresses import ip
from lab.k3s.pods import INSIDE
from lab.wait import wait_until
from tests.cluster.packets import reach
from tests.cluster.packets.pod_sources import behind_a_bridge
from tests.cluster.packets.reach import Source, Target
from tests.cluster.salt_views import everything

pytestmark = pytest.mark.cluster

SERVERS = ("s1", "s2", "s3")
CLIENTS, PEERS = 2379, 2380
REDIS, UNLISTED = 6379, 6380
# Of pods, which choose their own ports.
PORTS = (80, 5432)

# Below /var, of which every host has its own.
FOLDER = "/var/tmp/k3sfw-services"
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)"


def test_etcd_on_the_servers_is_a_quorum(etcd):
    members = etcd.ctl("s1", "s2", "member", "list")["members"]
    assert {member["name"] for member in members} == set(SERVERS)
    answers = etcd.ctl("s1", "s3", "endpoint", "health", "--cluster")
    assert len(answers) == 2 * len(SERVERS), "each member by IPv4 and by IPv6"
    assert all(answer["health"] for answer in answers)


def test_what_one_member_of_etcd_stores_another_one_reads(etcd):
    etcd.ctl("s2", "s1", "put", "/k3sfw/told", "to s1")
    (found,) = etcd.ctl("s1", "s3", "get", "/k3sfw/told")["kvs"]
    assert base64.b64decode(found["value"]) == b"to s1"


@pytest.mark.parametrize("port", [CLIENTS, PEERS])
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_only_servers_can_open_etcd(etcd, port, family):
    address = getattr(etcd.lab.host("s1"), family)
    assert who_connects(etcd.lab, address, port) == set(SERVERS)


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_redis_on_an_agent_answers_an_outsider(redis, family):
    asked = ["redis-cli", "-h", getattr(redis.host("a1"), family), "-p", str(REDIS), "ping"]
    assert redis.host("out").run(asked).stdout == "PONG\n"


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_redis_on_a_port_that_no_row_lists_answers_its_own_host_only(redis, family):
    assert who_connects(redis, getattr(redis.host("a1"), family), UNLISTED) == {"a1"}


def test_pods_and_nodes_reach_the_pods_of_other_nodes_through_vxlan(overlay):
    verdicts = overlay.ask(*overlay.pods.values(), *overlay.nodes.values())
    reach.report(verdicts, lambda _question: True)


def test_an_outsider_with_a_route_to_a_pod_is_rejected_by_its_node(overlay):
    with overlay.knowing_the_way() as outsider:
        verdicts = overlay.ask(outsider)
    reach.report(verdicts, lambda _question: False)
    assert "EHOSTUNREACH" in verdicts.values(), (
        "the nodes' answer, without which this proves nothing"
    )


def test_an_apply_that_would_cut_off_a_live_voter_is_refused_and_names_it(etcd, applied):
    before = applied.on_every_node(everything)
    stale = {"k3s": {"nodes": {"s3": {"role": "agent", "addresses": [applied.host("s3").ipv4]}}}}
    with applied.site(stale):
        answers = applied.apply(list(SERVERS))
        foretold = applied.apply(["s1"], test=True)
    assert {answer["result"] for answer in answers.values()} == {False}
    for name in ("s1", "s2"):
        assert "(s3, agent), which has a live" in answers[name]["comment"]
    assert "pillar says agent and the grain k3s_role" in answers["s3"]["comment"]
    assert foretold["s1"]["comment"] == answers["s1"]["comment"]
    assert applied.on_every_node(everything) == before
    assert etcd.is_healthy()


def test_a_live_voter_is_cut_off_where_allow_lockout_is_set_and_the_apply_says_so(etcd, applied):
    s3 = applied.host("s3").ipv4
    allowed = {
        "nodes": {"s3": {"role": "agent", "addresses": [s3]}},
        "firewall": {"allow_lockout": True},
    }
    with applied.site({"k3s": allowed}):
        answer = applied.apply("s1")["s1"]
    assert answer["result"] is True
    # etcd chooses the address that a member uses for its connections.
    assert re.search(r"this would close tcp/23(79|80) to \S+ \(s3", answer["comment"])
    assert "k3s:firewall:allow_lockout allows it" in answer["comment"]
    assert who_connects(applied.lab, applied.host("s1").ipv4, CLIENTS) == {"s1", "s2"}


class Etcd:
    """One member on each of these hosts."""

    def __init__(self, lab):
        self.lab = lab
        self.hosts = [lab.host(name) for name in SERVERS]

    def start(self, host):
        """A member that its peers and its clients reach by IPv4 and by IPv6."""
        everyone = (f"{each.name}={url}" for each in self.hosts for url in urls(each, PEERS))
        return running(
            host,
            "etcd",
            f"--name={host.name}",
            f"--data-dir={FOLDER}",
            f"--initial-cluster={','.join(everyone)}",
            f"--initial-advertise-peer-urls={','.join(urls(host, PEERS))}",
            f"--listen-peer-urls={','.join(urls(host, PEERS))}",
            f"--advertise-client-urls={','.join(urls(host, CLIENTS))}",
            f"--listen-client-urls={','.join(urls(host, CLIENTS))}",
        )

    def ctl(self, source, member, *words):
        """What etcdctl on one host is told by the member on another."""
        endpoints = ",".join(urls(self.lab.host(member), CLIENTS))
        command = ["etcdctl", "--write-out=json", f"--endpoints={endpoints}", *words]
        return json.loads(self.lab.host(source).run(command).stdout)

    def is_healthy(self):
        try:
            self.ctl("s1", "s2", "endpoint", "health", "--cluster")
        except CommandFailed:
            return False
        return True


@pytest.fixture(scope="module")
def etcd(applied):
    """A member on every server, when all of them say that they are healthy."""
    members = Etcd(applied.lab)
    with ExitStack() as stack:
        for host in members.hosts:
            stack.enter_context(members.start(host))
        wait_until(members.is_healthy, "No quorum of etcd", timeout=30)
        yield members


@pytest.fixture(scope="module")
def redis(applied):
    """The lab with redis on an agent: on its own port, and on one that no row lists."""
    host = applied.host("a1")
    with ExitStack() as stack:
        for port in (REDIS, UNLISTED):
            words = ["--port", str(port), "--bind", "*", "-::*", "--protected-mode", "no"]
            stack.enter_context(running(host, "redis-server", *words, "--save", ""))
            wait_until(lambda p=port: answers_itself(host, p), f"No redis on {port}", timeout=10)
        yield applied.lab


class Overlay:
    """Two nodes with a pod each, and a VXLAN between them."""

    def __init__(self, lab):
        self.lab = lab
        # By their numbers, which are those of their pod networks too.
        self.hosts = {1: lab.host("s1"), 2: lab.host("a1")}
        # As sources; a node sends into the overlay with its address there.
        self.pods = {}
        self.nodes = {
            number: Source(host.name, host.role, host, (f"10.42.{number}.0",))
            for number, host in self.hosts.items()
        }

    @contextmanager
    def up(self):
        with ExitStack() as stack:
            for number, host in self.hosts.items():
                peers = {other: peer for other, peer in self.hosts.items() if other != number}
                pod, _service = stack.enter_context(behind_a_bridge(host, number))
                stack.enter_context(flannel.vxlan(host, number, peers))
                self.pods[number] = replace(pod, addresses=pod.addresses[:1])
                stack.enter_context(
                    reach.responding_as(pod.name, host, pod.addresses[:1], PORTS, INSIDE)
                )
            yield self

    @contextmanager
    def knowing_the_way(self):
        """The outsider with a route to every pod network by the node that has it."""
        out = self.lab.host("out")
        ways = [f"10.42.{number}.0/24 via {host.ipv4}" for number, host in self.hosts.items()]
        ip(out, *(f"route add {way}" for way in ways))
        try:
            yield Source("out", "outsider", out, (out.ipv4,))
        finally:
            ip(out, *(f"route delete {way}" for way in ways))

    def ask(self, *sources):
        """What these sources get from the pods of all nodes but their own."""
        pairs = [
            (source, Target(pod.name, "pod", pod.addresses))
            for source in sources
            for pod in self.pods.values()
            if pod.host != source.host
        ]
        return reach.ask(reach.questions(pairs, PORTS), lambda _question: True)


@pytest.fixture(scope="module")
def overlay(applied):
    with Overlay(applied.lab).up() as standing:
        yield standing


@contextmanager
def running(host, *command):
    """A service in a folder of its own, which goes with it."""
    folder = host.path(FOLDER)
    folder.mkdir(exist_ok=True)
    with (folder / "output").open("a") as output:
        process = host.popen(
            ["env", f"--chdir={FOLDER}", *command], stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def answers_itself(host, port):
    return host.run(["redis-cli", "-p", str(port), "ping"], check=False).stdout == "PONG\n"


def who_connects(lab, address, port):
    """The hosts of the lab from which a new connection opens."""
    command = [sys.executable, "-I", "-S", "-c", CONNECT, address, str(port)]
    with ThreadPoolExecutor(max_workers=len(lab.hosts)) as pool:
        ended = pool.map(lambda host: host.run(command, check=False), lab.hosts.values())
        return {name for name, end in zip(lab.hosts, ended) if end.returncode == 0}


def urls(host, port):
    return [f"http://{host.ipv4}:{port}", f"http://[{host.ipv6}]:{port}"]
