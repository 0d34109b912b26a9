"""firewalld starts for the first time under a live minion, which must not be cut off its master.

The lab is one of its own: on a host where firewalld ran once, the kernel goes on following
connections, and a start of firewalld cuts nothing off.
"""

import json
import os
import re

import pytest

from lab.cluster import Lab
from lab.spec import HostSpec
from lab.wait import wait_until
from tests.cluster.init_script import manage_services
from tests.live_sockets import served

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

HOSTS = (
    HostSpec("m", "master", 10),
    HostSpec("a1", "agent", 21, firewalld=False),
    HostSpec("a2", "agent", 22, firewalld=False),
)


@pytest.fixture(scope="module")
def lab():
    lab = Lab(f"first{os.getpid()}", HOSTS, ephemeral=True)
    with lab:
        salt(lab, "*", "saltutil.sync_all")
        yield lab


def salt(lab, target, *words):
    done = lab.salt("--static", "--out=json", "--timeout=30", target, *words)
    return json.loads(done.stdout)


def connection(host):
    """The local port of the connection by which the minion gets its jobs."""
    shown = host.run(["ss", "-Htn", "state", "established", "dport", "=", ":4505"]).stdout
    (port,) = re.findall(r":(\d+)\s+\S+:4505", shown)
    return int(port)


def idle_connection(host):
    """The same, on a host whose kernel has not tracked any connection yet."""
    assert host.path("/proc/sys/net/netfilter/nf_conntrack_count").read_text() == "0\n"
    return connection(host)


def test_an_unprepared_first_start_cuts_the_minion_off(lab):
    host = lab.host("a1")
    before = idle_connection(host)
    host.start_firewalld()
    sent = lab.salt("--async", "a1", "test.ping").stdout
    wait_until(
        lambda: sends_in_vain(lab.master, host, before),
        f"the master's packets to a1 are all taken: {sent}",
        timeout=30,
    )
    (job,) = re.findall(r"\d{20}", sent)
    answers = lab.master.run(["salt-run", "--out=json", "jobs.lookup_jid", job]).stdout
    assert json.loads(answers) == {}
    # The minion has received nothing, so it does not notice anything.
    assert connection(host) == before


def sends_in_vain(master, host, port):
    """Whether the master sent the same bytes on this connection four times without an answer."""
    shown = master.run(["ss", "-Htin", "dst", f"{host.ipv4}:{port}"]).stdout
    attempts = re.search(r"backoff:(\d+)", shown)
    return attempts is not None and int(attempts[1]) >= 3


@pytest.fixture(scope="module")
def serviced(lab):
    """A node with a service manager, in which firewalld has not been started yet."""
    host = lab.host("a2")
    manage_services(host)
    salt(lab, "a2", "saltutil.refresh_grains")
    assert salt(lab, "a2", "grains.get", "init") == {"a2": "systemd"}
    return host


IN_ORDER = [
    "k3s_requirements",
    "k3s_firewall_prepared",
    "k3s_firewalld_package",
    "k3s_firewalld_service",
    "k3s_firewall_recovery",
    "k3s_firewall_recovery_enabled",
    "k3s_firewall",
]


@pytest.fixture(scope="module")
def exporter(lab, serviced):
    """Something that no row opens, and that the master uses."""
    with served(serviced, lab.master, "tcp/9100"):
        yield f"this closes tcp/9100 of exporter to {lab.master.ipv4}, which use it now. Fix: add "


@pytest.fixture(scope="module")
def first_apply(lab, serviced, exporter):
    """The answers of k3s.firewall before and while it starts firewalld, and the connection."""
    before = idle_connection(serviced)
    predicted = apply(lab, "test=True")
    assert not list(serviced.path("/etc/firewalld").rglob("k3s*"))
    assert "firewalld" not in serviced.daemons()
    done = apply(lab)
    return predicted, done, before


def apply(lab, *options):
    """The returns of k3s.firewall on a2 by the names of the states, in the order of the run."""
    returned = salt(lab, "a2", "state.apply", "k3s.firewall", *options)["a2"].values()
    in_order = sorted(returned, key=lambda state: state["__run_num__"])
    return {state["__id__"]: state for state in in_order}


def test_the_state_prepares_before_anything_can_start_and_manages_last(first_apply):
    predicted, done, _before = first_apply
    assert list(predicted) == list(done) == IN_ORDER
    assert {name: state["result"] for name, state in done.items()} == dict.fromkeys(IN_ORDER, True)
    assert done["k3s_firewalld_service"]["changes"] == {"firewalld": True}
    # It started with the prepared rules.
    assert done["k3s_firewall"]["changes"] == {}


def test_the_state_does_not_lose_the_minion_when_it_starts_firewalld(lab, serviced, first_apply):
    _predicted, done, before = first_apply
    assert "policy k3s-return-path" in done["k3s_firewall_prepared"]["changes"]["permanent"]
    assert "firewalld" in serviced.daemons()
    assert salt(lab, "a2", "test.ping") == {"a2": True}
    assert connection(serviced) == before


def test_what_the_start_closes_is_listed_before_and_with_it(first_apply, exporter):
    predicted, done, _before = first_apply
    row = "k3s:ports:manager:exporter_9100: {protocol: tcp, port: 9100, source: [192.0.2.10]}"
    for states in (predicted, done):
        assert exporter + row in states["k3s_firewall_prepared"]["comment"]


def test_a_dry_run_predicts_that_the_state_will_start_firewalld(first_apply):
    predicted, done, _before = first_apply
    for name in ("k3s_firewall_prepared", "k3s_firewall"):
        assert predicted[name]["changes"] == done[name]["changes"]
    assert predicted["k3s_firewall_prepared"]["result"] is None
    failed = [state["comment"] for state in predicted.values() if state["result"] is False]
    assert not failed
