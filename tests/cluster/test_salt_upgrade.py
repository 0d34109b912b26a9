"""A node comes from 0.1.0, whose engine was one flat folder: what it has is kept or undone."""

import json
import os
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.wait import wait_until
from tests import firewalld_views
from tests.cluster import salt_site
from tests.cluster.salt_site import synced
from tests.cluster.salt_views import not_ours

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.exhaustive,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

OLD = "0.1.0"
STATE = "/var/lib/k3sfw"
TRANSACTION = f"{STATE}/transaction"
POLICY = "/etc/firewalld/policies/k3s-rows.xml"
EXPORTER = {"protocol": "tcp", "port": 9100, "source": "any", "destination": "any"}
EXPORTER["description"] = "Node Exporter"
# salt-call that says when it has noted a step, and stays there until it is killed.
FREEZE = """
import sys, time
sys.path.insert(0, "UTILS")
from k3sfw_engine import undo
note = undo.note
def stop(folder, line):
    note(folder, line)
    if line["step"] == "STEP":
        print("frozen", file=sys.stderr, flush=True)
        time.sleep(600)
undo.note = stop
from salt.scripts import salt_call
salt_call()
"""


@pytest.fixture(scope="module")
def site():
    programs = Path(sys.executable).parent
    with salt_site.standing("upgrade", programs, a1={"multiprocessing": False}) as site:
        for option in ((), ("--permanent",)):
            open_port = ["firewall-cmd", "--quiet", *option, "--zone=public", "--add-port=8443/tcp"]
            site.host("s1").run(open_port)
        yield site


@pytest.fixture
def old(site):
    """The node s1 as 0.1.0 has made it, among the firewall of its operator."""
    site.check_out(OLD)
    site.sync()
    site.host("s1").run(["rm", "-rf", STATE])
    assert site.salt("s1", "k3sfw.apply")["s1"]["result"] is True
    return site


@contextmanager
def one_row_more(site):
    """The operator has a row more in pillar than the nodes have."""
    file = site.lab.srv / "pillar/k3s/site.sls"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"k3s": {"ports": {"cluster": {"exporter": EXPORTER}}}}))
    try:
        yield
    finally:
        file.unlink()


@pytest.fixture
def changed(old):
    with one_row_more(old):
        yield old


def upgrade(site):
    site.check_out()
    site.sync()


def has_exporter(host):
    """Whether the row is in force, and whether it is permanent."""
    rules = host.run(["firewall-cmd", "--policy=k3s-rows", "--list-rich-rules"]).stdout
    return 'port="9100"' in rules, 'port="9100"' in host.path(POLICY).read_text()


def history(site):
    """What the new version tells of s1: function and outcome of each change, the newest first."""
    entries = site.salt("s1", "k3sfw.history")["s1"]
    return [(entry["what"], entry["outcome"]) for entry in entries]


def assert_converges(site):
    applied = site.apply("s1")["s1"]
    assert applied["result"] is True, applied
    assert has_exporter(site.host("s1")) == (True, True)
    assert site.apply("s1")["s1"]["changes"] == {}
    return applied


@contextmanager
def frozen_at(site, step):
    """An apply of the old version on s1 that hangs where it has noted this step."""
    host = site.host("s1")
    code = FREEZE.replace("UTILS", f"{salt_site.SYNCED_TO}/utils").replace("STEP", step)
    command = [sys.executable, "-c", code, "k3sfw.apply"]
    with host.popen(command, stdout=-3, stderr=-1) as run:
        try:
            said = iter(run.stderr.readline, "")
            assert "frozen\n" in said
            yield run
        finally:
            run.kill()


def test_the_nodes_of_the_old_version_are_taken_over(old):
    host = old.host("s1")
    for function in ("remove", "apply"):
        assert old.salt("s1", f"k3sfw.{function}")["s1"]["changes"] != {}
    with one_row_more(old):
        assert old.salt("s1", "k3sfw.apply")["s1"]["changes"] != {}
        others = not_ours(host)
        upgrade(old)
        assert synced(host) == salt_site.served(old)
        assert old.salt("s1", "k3sfw.role") == {"s1": "server"}
        before = history(old)
        assert before[:3] == [("apply", "kept"), ("apply", "kept"), ("remove", "kept")]
        assert old.apply("s1", "test=True")["s1"]["changes"] == salt_site.NEW_TARGET
    # The row is not wanted any more.
    applied = old.apply("s1")["s1"]
    assert applied["result"] is True and set(applied["changes"]) >= {"runtime", "permanent"}
    assert has_exporter(host) == (False, False)
    assert history(old) == [("apply", "kept"), *before]
    assert not_ours(host) == others


def test_a_rollback_does_not_go_back_to_what_the_old_version_made(changed):
    assert changed.salt("s1", "k3sfw.apply")["s1"]["changes"] != {}
    upgrade(changed)
    refused = changed.salt("s1", "k3sfw.rollback")["s1"]
    assert "was not made by k3sfw" in refused and "Traceback" not in refused
    assert has_exporter(changed.host("s1")) == (True, True)


def test_the_copies_that_the_old_version_kept_heal_a_spoilt_file(changed):
    assert changed.salt("s1", "k3sfw.apply")["s1"]["changes"] != {}
    file = changed.host("s1").path(POLICY)
    whole = file.read_bytes()
    upgrade(changed)
    file.write_text("<")
    assert changed.salt("s1", "k3sfw.heal")["s1"]["result"] is True
    assert file.read_bytes() == whole


@pytest.mark.parametrize("step", ["runtime", "permanent"])
def test_what_a_killed_run_left_is_undone_first_by_its_own_program(changed, step):
    host = changed.host("s1")
    others = not_ours(host)
    with frozen_at(changed, step) as run:
        kill_with_its_watchdog(host, run)
    assert host.path(TRANSACTION).exists()
    program = laid_out(host)
    upgrade(changed)
    assert history(changed)[0] == ("apply", "broken off")
    assert laid_out(host) == program
    told = changed.apply("s1", "test=True")["s1"]
    assert "was broken off and will be undone first" in told["comment"]
    assert "was broken off; all of it was undone first" in assert_converges(changed)["comment"]
    assert ("apply", "undone by the next run") in history(changed)
    assert not set(laid_out(host)) & set(program).difference({"__main__.py"})
    assert not_ours(host) == others


def kill_with_its_watchdog(host, run):
    """As the out-of-memory killer of their control group does."""
    groups = {os.getpgid(each.pid) for each in host.processes() if "k3sfw-watchdog" in words(each)}
    assert groups
    for group in groups:
        os.killpg(group, signal.SIGKILL)
    run.kill()
    run.wait(10)


def words(process):
    return Path(f"/proc/{process.pid}/cmdline").read_text()


def laid_out(host):
    """The undo program: its files."""
    return salt_site.sources(host.path(f"{STATE}/program"))


def test_what_a_killed_run_left_is_undone_though_its_program_is_spoilt(changed):
    host = changed.host("s1")
    with frozen_at(changed, "permanent") as run:
        kill_with_its_watchdog(host, run)
    # As a power cut leaves a file that was just written.
    host.path(f"{STATE}/program/k3sfw_undo/undo.py").write_text("")
    upgrade(changed)
    assert "was broken off; all of it was undone first" in assert_converges(changed)["comment"]


def test_a_run_that_hangs_meanwhile_is_undone_by_its_watchdog(changed):
    host = changed.host("s1")
    began = time.monotonic()
    with frozen_at(changed, "permanent") as run:
        upgrade(changed)
        wait_until(lambda: not host.path(TRANSACTION).exists(), "It is not undone", timeout=90)
        assert run.wait(10) != 0
    assert time.monotonic() - began > 25
    assert has_exporter(host) == (False, False)
    assert history(changed)[0] == ("apply", "undone by the watchdog")
    assert "did not end and was undone by the watchdog" in assert_converges(changed)["comment"]


def begin_to_wait(site, within):
    answer = site.salt("s1", "k3sfw.apply", "confirm=manual", f"within={within}")["s1"]
    assert answer["result"] is True and has_exporter(site.host("s1")) == (True, False)


def test_what_waits_to_be_confirmed_waits_on_and_is_kept_when_it_is_confirmed(changed):
    begin_to_wait(changed, 600)
    program = laid_out(changed.host("s1"))
    upgrade(changed)
    assert history(changed)[0] == ("apply", "waits to be confirmed")
    refused = changed.apply("s1")["s1"]
    assert refused["result"] is False and "unless it is confirmed" in refused["comment"]
    assert laid_out(changed.host("s1")) == program
    assert set(changed.salt("s1", "k3sfw.confirm")["s1"]["changes"]) == {"permanent"}
    assert history(changed)[0] == ("apply", "kept")
    assert assert_converges(changed)["changes"] == salt_site.NEW_TARGET


def test_what_waits_to_be_confirmed_is_undone_by_a_rollback(changed):
    begin_to_wait(changed, 600)
    upgrade(changed)
    assert changed.salt("s1", "k3sfw.rollback")["s1"]["result"] is True
    assert has_exporter(changed.host("s1")) == (False, False)
    assert history(changed)[0] == ("apply", "undone by the rollback")
    assert_converges(changed)


def test_what_nobody_confirms_is_undone_in_time(changed):
    host = changed.host("s1")
    begin_to_wait(changed, 45)
    upgrade(changed)
    assert has_exporter(host) == (True, False)
    wait_until(lambda: not host.path(TRANSACTION).exists(), "It is not undone", timeout=90)
    assert has_exporter(host) == (False, False)
    told = assert_converges(changed)["comment"]
    assert "was not confirmed and was undone by the watchdog" in told
    assert laid_out(host) != {}


def test_a_sync_right_after_the_checkout_leaves_a_node_that_says_what_to_do(old):
    host = old.host("s1")
    firewall = firewalld_views.files(host), host.run(["nft", "-s", "list", "ruleset"]).stdout
    old.check_out()
    # The master goes by the list of files that it made for the last sync.
    old.salt("*", "saltutil.sync_all")
    assert set(synced(host)) < set(salt_site.served(old))
    told = old.salt("s1", "k3sfw.role")["s1"]
    assert "salt-run fileserver.clear_file_list_cache" in told and "Traceback" not in told
    firewall_now = firewalld_views.files(host), host.run(["nft", "-s", "list", "ruleset"]).stdout
    assert firewall_now == firewall
    old.sync()
    assert synced(host) == salt_site.served(old)
    assert old.salt("s1", "k3sfw.role") == {"s1": "server"}


def test_a_minion_of_one_process_refuses_until_it_is_restarted(old):
    assert old.salt("a1", "k3sfw.role") == {"a1": "agent"}
    upgrade(old)
    told = old.salt("a1", "k3sfw.role")["a1"]
    assert "restart the minion" in told and "Traceback" not in told
    old.restart_minion(old.host("a1"))
    assert old.salt("a1", "k3sfw.role") == {"a1": "agent"}
