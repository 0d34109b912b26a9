"""A change through Salt: proven or undone, confirmed, and rolled back."""

import os
import re
import shutil
import signal
import sys
import time
from contextlib import ExitStack, contextmanager

import pytest
import yaml

from lab.daemons import master_config, salt_program
from lab.wait import wait_until
from tests.cluster.enforcement.one_more_row import TRANSACTION, has_exporter, outcomes
from tests.cluster.salt_views import Events, everything
from tests.selection import exhaustive
from tests.ssh_sessions import ended, session

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

SSH, MASTER = 2222, 4505
SECOND = "second-master"
OPENED = {
    "k3s": {
        "ports": {
            "manager": {
                "ssh": {"protocol": "tcp", "port": SSH},
                "salt": {"protocol": "tcp", "port": "4505-4506"},
            }
        }
    }
}
# Cuts new connections of the node to its master during a change, and for some seconds more.
CUT = f"""
import os, subprocess, sys, time
rules = "table inet cut {{ chain cut {{ type filter hook RULE; }}; }};"
print("watching", flush=True)
deadline = time.monotonic() + 60
while not os.path.exists("{TRANSACTION}"):
    assert time.monotonic() < deadline
    time.sleep(0.0005)
subprocess.run(["nft", "-f", "-"], input=rules.encode(), check=True)
while os.path.exists("{TRANSACTION}"):
    assert time.monotonic() < deadline
    time.sleep(0.01)
time.sleep(LONGER)
subprocess.run(["nft", "delete", "table", "inet", "cut"], check=True)
"""

PORTS = "{ 4505, 4506 }"
NEW_DROPPED = f"output priority 0; ip daddr MASTER tcp dport {PORTS} ct state new drop"
NEW_REJECTED = f"output priority 0; ip daddr MASTER tcp dport {PORTS} ct state new reject"
# In one direction only: what the minion sends arrives.
ANSWERS_DROPPED = (
    f"input priority 0; ip saddr MASTER tcp sport {PORTS} tcp flags & (syn|ack) == syn|ack drop"
)


def state_of(returned):
    """The return of the one state that changes the firewall, of one minion's state.apply."""
    return returned["k3sfw_|-k3s_firewall_|-k3s_firewall_|-managed"]


@contextmanager
def cut_off_while_it_changes(cluster, host, longer=0, rule=NEW_DROPPED):
    """Block new connections of the host to its master from the first step on."""
    cut = CUT.replace("RULE", rule).replace("LONGER", str(longer))
    cut = cut.replace("MASTER", cluster.lab.master.ipv4)
    with host.popen([sys.executable, "-c", cut], stdout=-1) as watcher:
        assert watcher.stdout.readline() == "watching\n"
        yield
        assert watcher.wait(60) == 0


def test_a_waiting_change_is_in_force_and_permanent_once_confirmed(changed):
    host = changed.host("s1")
    answer = changed.salt("s1", "k3sfw.apply", confirm="manual", within=300)["s1"]
    assert answer["result"] is True
    assert "unless it is confirmed. Fix: k3sfw.confirm keeps it" in answer["comment"]
    assert set(answer["changes"]) == {"runtime"}
    assert has_exporter(host) == (True, False)
    refused = changed.apply("s1")["s1"]
    assert refused["result"] is False and "unless it is confirmed" in refused["comment"]
    assert set(changed.salt("s1", "k3sfw.confirm")["s1"]["changes"]) == {"permanent"}
    assert has_exporter(host) == (True, True)
    assert outcomes(changed) == ["kept"]


def test_a_rollback_of_a_waiting_change_undoes_it_at_once(changed):
    changed.salt("s1", "k3sfw.apply", confirm="manual", within=300)
    foretold = changed.salt("s1", "k3sfw.rollback", test=True)["s1"]
    assert foretold["result"] is None
    assert has_exporter(changed.host("s1")) == (True, False)
    done = changed.salt("s1", "k3sfw.rollback")["s1"]
    assert (done["result"], done["changes"]) == (True, foretold["changes"])
    assert has_exporter(changed.host("s1")) == (False, False)
    assert outcomes(changed) == ["undone by the rollback"]


def test_an_unconfirmed_change_is_undone_in_time_and_the_next_apply_says_so(changed):
    host, within = changed.host("s1"), 10
    began = time.monotonic()
    waiting = changed.salt("s1", "k3sfw.apply", confirm="manual", within=within)["s1"]
    begun_at = re.search(r"the apply of (.+ UTC) is undone at", waiting["comment"])[1]
    assert has_exporter(host) == (True, False)
    wait_until(lambda: has_exporter(host) == (False, False), "It is not undone", timeout=30)
    assert within < time.monotonic() - began < within + 10
    assert outcomes(changed) == ["undone by the watchdog"]
    told = f"the apply of {begun_at} was not confirmed and was undone by the watchdog"
    next_one = changed.apply("s1")["s1"]
    assert next_one["result"] is True and told in next_one["comment"]
    assert told not in changed.apply("s1")["s1"]["comment"]


def test_a_rollback_undoes_the_last_change_and_test_mode_predicts_it(changed):
    host = changed.host("s1")
    changed.converge("s1")
    foretold = changed.salt("s1", "k3sfw.rollback", test=True)["s1"]
    assert foretold["result"] is None
    assert has_exporter(host) == (True, True)
    assert changed.salt("s1", "k3sfw.rollback")["s1"]["changes"] == foretold["changes"]
    assert has_exporter(host) == (False, False)


def test_the_history_lists_each_change_with_its_job_and_nothing_else(changed):
    for _turn in range(2):
        changed.converge("s1")
    (entry,) = changed.salt("s1", "k3sfw.history")["s1"]
    job = changed.salt_run("jobs.lookup_jid", entry["job"])
    assert list(job) == ["s1"]
    assert state_of(job["s1"])["changes"] == entry["changes"]
    text = changed.lab.salt("s1", "k3sfw.history").stdout
    assert f"      job:\n          {entry['job']}\n      outcome:\n          kept\n" in text


@pytest.mark.parametrize(
    "rule",
    [NEW_DROPPED, exhaustive(NEW_REJECTED), ANSWERS_DROPPED],
    ids=["dropped", "rejected", "answers-dropped"],
)
def test_a_change_that_cuts_the_node_off_its_master_is_undone(changed, rule):
    host = changed.host("s1")
    with cut_off_while_it_changes(changed, host, rule=rule):
        began = time.monotonic()
        returned, retcode = changed.salt_call("s1", "state.apply", "k3s.firewall")
        took = time.monotonic() - began
    answer = state_of(returned)
    assert answer["result"] is False and retcode == 2
    assert took < 60
    assert set(answer["changes"]) == {"undone"}
    assert set(answer["changes"]["undone"]) == {"runtime", "permanent"}
    assert f"{changed.lab.master.ipv4} does not accept a new connection" in answer["comment"]
    assert "everything was undone: the node is as it was before" in answer["comment"]
    assert has_exporter(host) == (False, False)
    assert outcomes(changed) == ["undone by the run"]


def test_the_master_is_told_of_an_undone_change_once_it_is_reachable(changed):
    with Events(changed.lab.master) as events:
        # The minion's existing connections stay up, and new ones are possible later.
        with cut_off_while_it_changes(changed, changed.host("s1"), longer=5):
            answer = changed.apply("s1")["s1"]
        sent = events.new()
    assert set(answer["changes"]) == {"undone"}
    (told,) = [data["data"] for tag, data in sent if tag == "k3sfw/managed"]
    assert told["changes"] == answer["changes"]
    jobs = [data for tag, data in sent if tag.endswith("/ret/s1")]
    assert [job["retcode"] for job in jobs if job["fun"] == "state.apply"] == [2]


def test_a_minion_killed_during_a_change_leaves_the_node_old_or_new(changed):
    host = changed.host("s1")
    changed.lab.salt("--async", "s1", "state.apply", "k3s.firewall")
    journal = host.path(f"{TRANSACTION}/journal")
    wait_until(
        lambda: '"runtime"' in _text_of(journal), "No step is taken", timeout=60, every=0.001
    )
    kill_with_its_group(host, "salt-minion")
    wait_until(lambda: not host.path(TRANSACTION).exists(), "It is not undone", timeout=10)
    assert has_exporter(host) in ((False, False), (True, True))
    wait_until(lambda: not _programs_of_ours(host), "Something of ours still runs", timeout=10)
    changed.stop_minion(host)
    changed.start_minion(host)
    changed.converge("s1")
    assert has_exporter(host) == (True, True)
    assert changed.apply("s1")["s1"]["changes"] == {}


def kill_with_its_group(host, name):
    """Kill the minion with all its processes, as the out-of-memory killer of its cgroup does."""
    groups = {os.getpgid(each.pid) for each in host.processes() if each.name == name}
    # The lab's hosts share the cgroup of the process that started their daemons.
    for each in host.processes():
        if os.getpgid(each.pid) in groups:
            os.kill(each.pid, signal.SIGKILL)


def _programs_of_ours(host):
    return [each for each in host.processes() if "/var/lib/k3sfw" in _command_of(each)]


def _text_of(path):
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


@pytest.fixture
def in_use(applied):
    """s1 with live sessions of ssh and a minion, allowed by rows that pillar no longer has."""
    host, client = applied.host("s1"), applied.host("a1")
    with applied.site(OPENED):
        applied.converge("s1")
    with ExitStack() as stack:
        stack.enter_context(session(host, client, SSH))
        stack.enter_context(a_minion_connected(host, client))
        yield applied


@contextmanager
def a_minion_connected(host, client):
    """A second master, real, on the host; the client subscribes to it as a minion does."""
    folder = f"/run/{SECOND}"
    host.path(folder).mkdir()
    host.path(f"{folder}/master").write_text(
        yaml.safe_dump({**master_config(), "root_dir": folder, "worker_threads": 1})
    )
    serve = [salt_program("salt-master"), "-c", folder]
    subscribe = (
        "import time, zmq; subscriber = zmq.Context().socket(zmq.SUB); "
        f"subscriber.connect('tcp://{host.ipv4}:{MASTER}'); time.sleep(600)"
    )
    connected = ["ss", "-Htn", "state", "established", f"sport = :{MASTER}"]
    try:
        with (
            ended(host.popen(serve, stdout=-3, stderr=-3)),
            ended(client.popen([sys.executable, "-c", subscribe])),
        ):
            wait_until(
                lambda: client.ipv4 in host.run(connected).stdout,
                "No minion is connected",
                timeout=60,
            )
            yield
    finally:
        wait_until(
            lambda: not [each for each in host.processes() if SECOND in _command_of(each)],
            "The second master does not end",
            timeout=30,
        )
        shutil.rmtree(host.path(folder))


def test_an_apply_that_would_close_ssh_or_salt_in_use_is_refused_as_predicted(in_use):
    host, client = in_use.host("s1"), in_use.host("a1").ipv4
    before, known = everything(host), outcomes(in_use)
    foretold = in_use.apply("s1", test=True)["s1"]
    refused = in_use.apply("s1")["s1"]
    assert (refused["result"], refused["changes"]) == (False, {})
    assert f"close tcp/{SSH} to {client} (a1, agent), which has a live ssh" in refused["comment"]
    assert f"close tcp/{MASTER} to {client} (a1, agent), which has a live" in refused["comment"]
    assert (foretold["result"], foretold["comment"]) == (False, refused["comment"])
    assert everything(host) == before
    assert outcomes(in_use) == known


def _command_of(process):
    try:
        with open(f"/proc/{process.pid}/cmdline") as file:
            return file.read().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""  # It has ended since.
