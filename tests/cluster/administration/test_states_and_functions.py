"""What an operator can rely on at the master: the states and functions of k3sfw, through Salt."""

import json
import os
import shutil
from collections import namedtuple

import pytest

from lab.spec import HostSpec
from tests import catalogue_of_states
from tests.cluster import salt_views
from tests.cluster.salt_views import Events, everything, files, kernel, not_ours, runtime

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

MASK = "**********"
SERVER_ROWS = {"etcd", "supervisor", "spegel"}
ALL_OBJECTS = {
    *(f"ipset k3s-{name}-{family}" for name in ("agent", "node", "server") for family in (4, 6)),
    *(f"ipset k3s-group-clients-{family}" for family in (4, 6)),
    *(f"policy k3s-bound-to-{where}" for where in ("any", "host")),
    *(f"policy k3s-{name}" for name in ("nodes-to-pods", "pods-to-any", "pods-to-host", "rows")),
    "zone k3s",
}

# What a change that was made can be asked, and told.
TRANSACTION = ("apply", "confirm", "heal", "history", "rollback")

# A server and an agent.
CYCLED = ["s1", "a1"]

Step = namedtuple("Step", "returned events before after")


@pytest.fixture(scope="module")
def cycle(applied):
    """The life of a node of each role from the start: predicted, applied, and both once more."""
    removed = applied.salt(CYCLED, "state.apply", "k3s.remove")
    assert {state["result"] for states in removed.values() for state in states.values()} == {True}
    steps = {}
    with Events(applied.lab.master) as events:
        before = seen(applied)
        for name, test in (
            ("predicted", True),
            ("first", False),
            ("second", False),
            ("converged", True),
        ):
            returned = applied.apply(CYCLED, test=test)
            after = seen(applied)
            steps[name] = Step(returned, events.from_managed(), before, after)
            before = after
    return steps


def results(returned):
    return {minion: state["result"] for minion, state in returned.items()}


def changes(returned):
    return {minion: state["changes"] for minion, state in returned.items()}


def seen(cluster):
    """The complete firewalls of these nodes."""
    return {name: everything(cluster.host(name)) for name in CYCLED}


def state_of(returned, name):
    """The return of the one state that is named like this in a return of state.apply."""
    (found,) = [state for key, state in returned.items() if key.split("_|-")[1] == name]
    return found


# --- the life of a node ---


def test_the_first_apply_succeeds_on_a_server_and_an_agent(cycle):
    assert results(cycle["first"].returned) == dict.fromkeys(CYCLED, True)
    for minion, change in changes(cycle["first"].returned).items():
        assert set(change) == {"runtime", "permanent"}, minion
        assert set(change["runtime"]) == set(change["permanent"]) == ALL_OBJECTS


def test_a_dry_run_touches_nothing_and_predicts_the_real_run(cycle):
    assert results(cycle["predicted"].returned) == dict.fromkeys(CYCLED, None)
    assert changes(cycle["predicted"].returned) == changes(cycle["first"].returned)
    assert cycle["predicted"].after == cycle["predicted"].before


def test_a_second_apply_changes_nothing_and_reloads_nothing(cycle):
    assert results(cycle["second"].returned) == dict.fromkeys(CYCLED, True)
    assert changes(cycle["second"].returned) == dict.fromkeys(CYCLED, {})
    # It includes the handles of kernel rules, which a reload would change.
    assert cycle["second"].after == cycle["second"].before


def test_a_dry_run_on_a_converged_node_is_true(cycle):
    assert results(cycle["converged"].returned) == dict.fromkeys(CYCLED, True)
    assert changes(cycle["converged"].returned) == dict.fromkeys(CYCLED, {})
    assert cycle["converged"].after == cycle["converged"].before


def test_an_event_is_sent_on_a_change_and_never_without_one(cycle):
    first = cycle["first"]
    assert changes(first.events) == changes(first.returned)
    assert results(first.events) == dict.fromkeys(CYCLED, True)
    assert [cycle[name].events for name in ("predicted", "second", "converged")] == [{}, {}, {}]


def test_each_comment_begins_with_a_line_that_exporters_know(cycle):
    first = {
        name: {state["comment"].splitlines()[0] for state in step.returned.values()}
        for name, step in cycle.items()
    }
    known = catalogue_of_states.first_lines()
    assert all(lines <= known for lines in first.values()), first
    assert first["predicted"] != first["first"] != first["second"] == first["converged"]


def test_drift_made_by_hand_is_reported_and_fixed(applied):
    host = applied.host("s1")
    salt_views.lose_address(host, "192.0.2.21")
    lost = {"ipset k3s-node-4": {"entries": {"old": [], "new": ["192.0.2.21"]}}}

    status, code = applied.salt_call("s1", "k3sfw.status")
    assert (status["in_step"], code) == (False, 2)
    assert status["runtime"] == {"in_step": False, "differences": lost}
    assert status["permanent"]["in_step"] is True
    # The kernel has what firewalld reports.
    assert status["kernel"]["in_step"] is True
    report, code = applied.salt_call("s1", "k3sfw.check_ports")
    assert (report["status"], code) == ("FAIL", 2)
    assert "10250" in report["problems"][0]

    with Events(applied.lab.master) as events:
        repaired = applied.apply("s1")
        assert changes(repaired) == {"s1": {"runtime": lost}}
        assert changes(events.from_managed()) == changes(repaired)
    assert salt_views.has_address(host, "192.0.2.21")
    status, code = applied.salt_call("s1", "k3sfw.status")
    assert (status["in_step"], code) == (True, 0)


def test_a_highstate_brings_requirements_firewall_routes_and_schedule(applied):
    host = applied.host("s2")
    try:
        returned = applied.salt("s2", "state.highstate")["s2"]
        # The lab has no service manager, so the states ask for no package and no service.
        names = ["k3s_requirements", "k3s_firewall", "k3s_routes", "k3s_metrics", "k3s_schedule"]
        names += ["k3s_schedule_heal", "k3s_schedule_check"]
        brought = [key.split("_|-")[1] for key in returned]
        settings = ("k3s_sysctl_", "k3s_networkmanager")
        assert [name for name in brought if not name.startswith(settings)] == names
        known = catalogue_of_states.first_lines()
        ours = {key: each for key, each in returned.items() if key.startswith("k3sfw_|-")}
        assert {each["comment"].splitlines()[0] for each in ours.values()} <= known
        # K3s does not run here, which is not a failure.
        assert {state["result"] for state in returned.values()} == {True}
        scheduled = applied.salt("s2", "schedule.list")["s2"]
        assert "k3s_highstate" in scheduled
        assert "k3s_heal" in scheduled
    finally:
        for job in ("k3s_highstate", "k3s_heal"):
            applied.salt("s2", "schedule.delete", job)
        for file in ("sysctl.d/90-k3sfw.conf", "NetworkManager/conf.d/zz-k3sfw.conf"):
            host.path(f"/etc/{file}").unlink(missing_ok=True)
        host.run(["sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward"])


def test_remove_deletes_everything_of_ours_and_the_schedule(applied):
    host = applied.host("a1")
    applied.salt("a1", "state.apply", "k3s.schedule")
    assert "k3s_heal" in applied.salt("a1", "schedule.list")["a1"]
    before = everything(host)
    predicted = applied.salt("a1", "state.apply", "k3s.remove", test=True)["a1"]
    would = state_of(predicted, "k3s_firewall_removed")
    assert would["result"] is None
    assert everything(host) == before

    removed = applied.salt("a1", "state.apply", "k3s.clean")["a1"]
    assert {state["result"] for state in removed.values()} == {True}
    assert state_of(removed, "k3s_firewall_removed")["changes"] == would["changes"]
    assert set(would["changes"]["runtime"]) == set(would["changes"]["permanent"]) == ALL_OBJECTS

    assert not [name for name in files(host) if "k3s" in name and not name.endswith(".old")]
    assert "k3s" not in kernel(host)
    assert not [name for _kind, name in runtime(host) if "k3s" in name]
    assert "k3s_" not in applied.salt("a1", "schedule.list")["a1"]
    assert not host.path("/var/lib/k3sfw").exists()

    after = everything(host)
    again = applied.salt("a1", "state.apply", "k3s.remove")["a1"]
    assert {json.dumps(state["changes"]) for state in again.values()} == {"{}"}
    assert everything(host) == after


def test_every_node_has_every_function_with_its_documentation(applied):
    listed = applied.salt("*", "sys.list_functions", "k3sfw")
    assert set(listed) == set(applied.nodes)
    documented, _retcode = applied.salt_call("s1", "sys.doc", "k3sfw")
    for functions in listed.values():
        assert {f"k3sfw.{each}" for each in TRANSACTION} <= set(functions) == set(documented)
    for function, text in documented.items():
        assert "CLI Example:" in text and f" {function}" in text, function


# --- what is not ours ---


@pytest.fixture
def bystander(applied):
    """The name of a node without anything of ours, which gets its firewall back afterwards."""
    host = applied.host("s2")
    folder = host.path("/etc/firewalld")
    copy = folder.with_name("firewalld.kept")
    shutil.copytree(folder, copy)
    applied.salt("s2", "state.apply", "k3s.remove")
    yield "s2"
    shutil.rmtree(folder)
    copy.rename(folder)
    host.restart_firewalld()
    for job in ("k3s_highstate", "theirs"):
        applied.salt("s2", "schedule.delete", job)


def test_what_others_own_survives_apply_highstate_and_remove(applied, bystander):
    host = applied.host(bystander)
    for arguments in (
        ["--permanent", "--new-zone=office"],
        ["--permanent", "--zone=office", "--add-source=198.51.100.0/24"],
        ["--permanent", "--new-ipset=friends", "--type=hash:ip"],
        ["--permanent", "--new-policy=theirs"],
        ["--permanent", "--policy=theirs", "--add-ingress-zone=office"],
        ["--permanent", "--policy=theirs", "--add-egress-zone=HOST"],
        ["--permanent", "--zone=public", "--add-port=8443/tcp"],
        ["--reload"],
        # Runtime-only from here on: the reload of a first apply would drop it.
        ["--zone=public", "--add-port=9999/tcp"],
        ["--zone=public", "--remove-service=ssh"],
        ["--ipset=friends", "--add-entry=198.51.100.7"],
        ["--policy=theirs", "--add-rich-rule=rule family=ipv4 source ipset=friends drop"],
    ):
        host.run(["firewall-cmd", *arguments])
    applied.salt(bystander, "schedule.add", "theirs", "function=test.ping", hours=9)
    before = not_ours(host)

    for name in ("state.apply", "state.highstate"):
        argument = ["k3s.firewall"] if name == "state.apply" else []
        returned = applied.salt(bystander, name, *argument)[bystander]
        assert {state["result"] for state in returned.values()} == {True}
        assert not_ours(host) == before
    applied.salt(bystander, "state.apply", "k3s.remove")
    assert not_ours(host) == before
    listed = applied.salt(bystander, "schedule.list")[bystander]
    assert "theirs" in listed and "k3s_highstate" not in listed


# --- a node that joins ---


def test_a_new_node_needs_one_sync_and_its_peers_need_no_refresh(applied):
    host = applied.lab.add_host(HostSpec("a3", "agent", 23))
    applied.start_minion(host)
    # There are no states and no pillar yet: the top files use a grain that k3sfw brings.
    unsynced = json.dumps(applied.salt("a3", "state.apply", "k3s.firewall"))
    assert "k3sfw.managed" in unsynced and "Traceback" not in unsynced

    # All that a first run needs, from the file server of the master.
    applied.salt("a3", "saltutil.sync_all")
    assert results(applied.apply("a3")) == {"a3": True}

    known = {"role": "agent", "addresses": ["192.0.2.23", "2001:db8::23"]}
    assert applied.salt("s1", "k3sfw.nodes")["s1"]["a3"] == known
    planned = applied.salt("s1", "k3sfw.plan")["s1"]["changes"]["runtime"]
    assert planned["ipset k3s-node-4"] == {"entries": {"old": [], "new": ["192.0.2.23"]}}


# --- the functions ---

# Each with its arguments, as `salt` takes several functions in one job.
ASKED = {
    "k3sfw.role": "",
    "k3sfw.nodes": "",
    "k3sfw.rows": "",
    "k3sfw.plan": "",
    "k3sfw.apply": "",
    "k3sfw.remove": "test=True",
    "k3sfw.status": "",
    "k3sfw.check_ports": "full=True peers=0",
    "k3sfw.script": "",
    "pillar.items": "unmask=True",
}


def ask(cluster, target, asked):
    """What several functions return in one job: {minion: {function: return}}."""
    words = [word for arguments in asked.values() for word in (*arguments.split(), ",")]
    return cluster.salt(target, ",".join(asked), *words[:-1])


@pytest.fixture(scope="module")
def answers(applied):
    """The answers of the functions on nodes in step."""
    return ask(applied, ["s1", "a1"], ASKED)


def test_role_and_nodes_tell_what_is_in_the_cluster(applied, answers):
    nodes = {
        name: {"role": host.role, "addresses": [host.ipv4, host.ipv6]}
        for name, host in applied.nodes.items()
    }
    for name, answer in answers.items():
        assert answer["k3sfw.role"] == applied.host(name).role
        assert answer["k3sfw.nodes"] == nodes


def test_rows_are_those_of_the_nodes_role_with_all_their_columns(applied, answers):
    for name, answer in answers.items():
        rows = answer["k3sfw.rows"]
        names = {row["name"] for row in rows if row["table"] == "cluster"}
        assert names & SERVER_ROWS == (SERVER_ROWS if name == "s1" else set())
        (grafana,) = [row for row in rows if row["name"] == "grafana"]
        assert grafana == {
            "table": "manager",
            "name": "grafana",
            "protocol": "tcp",
            "port": "3000",
            "source": "clients",
            "destination": "any",
            "description": "Grafana",
            "served": "nothing here",
        }


def test_plan_apply_and_status_report_a_node_in_step_in_their_shapes(applied, answers):
    nothing = {"changes": {}, "reloads": [], "notices": []}
    in_step = {"in_step": True, "differences": {}}
    comment = "firewalld and the kernel match the tables"
    for name, answer in answers.items():
        assert answer["k3sfw.plan"] == {**nothing, "steps": []}
        assert answer["k3sfw.apply"] == {**nothing, "result": True, "comment": comment}
        assert answer["k3sfw.status"] == {
            "in_step": True,
            "role": applied.host(name).role,
            "rows": 17 if name == "s1" else 14,
            "nodes": 3,
            "runtime": in_step,
            "permanent": in_step,
            "kernel": in_step,
            "notices": [],
        }


def test_remove_in_test_mode_lists_what_it_would_delete(answers):
    for answer in answers.values():
        removal = answer["k3sfw.remove"]
        assert set(removal) == {"result", "changes", "comment", "reloads", "notices"}
        assert removal["result"] is None
        assert set(removal["changes"]["runtime"]) == ALL_OBJECTS


def test_check_ports_reports_every_row_in_its_documented_shape(answers):
    columns = "from to address protocol port description expect status by evidence hint"
    for answer in answers.values():
        report = answer["k3sfw.check_ports"]
        keys = {"status", "summary", "problems", "counts", "promises", "checks"}
        assert set(report) == keys
        # There is no listener in the lab: that is only worth a warning.
        rows = answer["k3sfw.status"]["rows"]
        assert report["status"] == "WARN"
        assert report["counts"] == {"ok": 2, "no_listener": rows - 2}
        assert len(report["checks"]) == rows
        for check in report["checks"]:
            assert sorted(check) == sorted(columns.split())


def test_the_script_is_plain_firewall_cmd_with_readable_values(answers):
    for name, answer in answers.items():
        script = answer["k3sfw.script"]
        lines = script.splitlines()
        assert lines[0] == "#!/bin/sh"
        assert all(line.startswith(("#", "set ", "firewall-cmd ")) for line in lines)
        assert ("2379-2380" in script) == (name == "s1")
        assert "6379" in script


def test_no_value_is_masked(applied, cycle, answers):
    returned = [step.returned for step in cycle.values()]
    assert MASK not in json.dumps([answers, returned])
    for host in map(applied.host, CYCLED):
        assert MASK not in kernel(host)
        assert not [name for name, data in files(host).items() if MASK.encode() in data[0]]


def test_an_agent_has_no_row_for_servers(answers):
    for name, answer in answers.items():
        pillar = answer["pillar.items"]
        held = set(pillar["k3s"]["ports"]["cluster"])
        assert held & SERVER_ROWS == (SERVER_ROWS if name == "s1" else set())
        # The promises name the ports of both roles, and open none.
        ours = {k: v for k, v in pillar["k3sfw_defaults"].items() if k != "tests"}
        text = json.dumps({**pillar, "k3sfw_defaults": ours})
        # Without the first, the second would prove nothing.
        assert "10250" in text
        assert ("2379" in text) == (name == "s1")


def test_a_warning_and_a_refusal_have_return_codes_of_their_own(applied):
    assert applied.salt_call("a1", "k3sfw.check_ports")[1] == 1
    with applied.site({"k3s": {"ports": {"manager": {"kafka": {"port": 0}}}}}):
        report, code = applied.salt_call("a1", "k3sfw.check_ports")
    assert (report["status"], code) == ("UNKNOWN", 4)


def test_plan_and_a_dry_apply_predict_what_a_new_row_changes(applied):
    site = {"k3s": {"ports": {"manager": {"loki": {"protocol": "tcp", "port": 3100}}}}}
    with applied.site(site):
        dry = ask(applied, "s1", {"k3sfw.plan": "", "k3sfw.apply": "test=True"})["s1"]
        done = applied.salt("s1", "k3sfw.apply")["s1"]
    rules = [f'rule family="{f}" port port="3100" protocol="tcp" accept' for f in ("ipv4", "ipv6")]
    change = {"policy k3s-rows": {"rich_rules": {"old": [], "new": rules}}}
    assert dry["k3sfw.plan"]["changes"] == {"runtime": change, "permanent": change}
    assert dry["k3sfw.plan"]["steps"] and not dry["k3sfw.plan"]["reloads"]
    assert dry["k3sfw.apply"]["result"] is None
    assert done["result"] is True
    assert dry["k3sfw.apply"]["changes"] == done["changes"] == dry["k3sfw.plan"]["changes"]


def test_explain_names_the_row_and_the_rule_or_their_absence(applied):
    peer = applied.salt("s1", "k3sfw.explain", applied.host("s2").ipv4, 2379)["s1"]
    assert set(peer) == {"verdict", "source", "rows", "accepted_by", "decision", "walk"}
    assert peer["verdict"] == "open"
    assert "node s2 (server)" in peer["source"]
    assert peer["rows"] == ["k3s:ports:cluster:etcd: Etcd Service"]
    assert 'ipset="k3s-server-4"' in peer["accepted_by"][0]
    agent = applied.salt("s1", "k3sfw.explain", applied.host("a1").ipv4, 2379)["s1"]
    assert (agent["verdict"], agent["rows"]) == ("not in the tables", [])


@pytest.mark.parametrize("question", [("nowhere", 2379), ("192.0.2.21", 70000)])
def test_explain_refuses_an_invalid_question(applied, question):
    refused = applied.salt("s1", "k3sfw.explain", *question)["s1"]
    assert isinstance(refused, str), refused
    assert "Fix: give one address, a port from 1 to 65535" in refused
    assert "Traceback" not in refused


def test_a_function_refuses_bad_tables_with_a_sentence_and_a_return_code(applied):
    fault = "pillar k3s:ports:manager:kafka:port: port 0 is not in 1-65535"
    with applied.site({"k3s": {"ports": {"manager": {"kafka": {"port": 0}}}}}):
        # One job each: in a job of several functions Salt shows an exception as a traceback.
        refusals = [applied.salt("a1", f"k3sfw.{name}")["a1"] for name in ("rows", "apply")]
        called = applied.host("a1").run(
            ["salt-call", "--retcode-passthrough", "k3sfw.status"], check=False
        )
    for text in (*refusals, called.stdout + called.stderr):
        assert fault in text
        assert "Traceback" not in text
    assert called.returncode
