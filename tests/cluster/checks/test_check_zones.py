"""check_zones through Salt, with a real NetworkManager: problems are found and fixed."""

import json
import shlex
from contextlib import contextmanager

import pytest

from lab.k3s import pods
from tests.cluster.packets.network_manager import network_manager

pytestmark = pytest.mark.cluster


@pytest.fixture
def agent(applied):
    """An agent with pods, and a NetworkManager that manages its interfaces."""
    host = applied.host("a2")
    with pods.behind_a_bridge(host, 5), network_manager(host):
        yield host


def checked(cluster, **options):
    """The report of a2 and its return code."""
    return cluster.salt_call("a2", "k3sfw.check_zones", **options)


@contextmanager
def done(host, commands, undone):
    host.run(["sh", "-ec", "\n".join(commands)])
    try:
        yield
    finally:
        host.run(["sh", "-c", "\n".join(undone)], check=False)


def type_mend(cluster, problem):
    """Type the commands of a problem on the master, one after the other."""
    for command in problem.partition(". Fix: ")[2].split(" && salt "):
        _target, function, *arguments = shlex.split(command.removeprefix("salt "))
        (answer,) = cluster.salt("a2", function, *arguments).values()
        assert answer is not False, answer


def in_both(option):
    return [f"firewall-cmd -q {layer} --zone=work {option}" for layer in ("", "--permanent")]


def test_zones_are_shown_with_what_networkmanager_says_and_what_is_wrong_is_fixed(applied, agent):
    report, code = checked(applied)
    assert (report["status"], report["problems"], code) == ("OK", [], 0)
    assert report["summary"].endswith("interfaces, 2 zones in use)")
    assert report["interfaces"]["cni0"] == {
        "runtime": "k3s",
        "permanent": "k3s",
        "network_manager": "managed (connection cni0, no zone)",
        "meaning": "pods come in by it",
    }
    assert report["interfaces"]["eth0"]["network_manager"] == "managed (connection eth0, no zone)"
    targets = {"k3s": "DROP", "public": "default"}
    assert report["zones"] == {
        name: {"runtime": target, "permanent": target} for name, target in targets.items()
    }

    with done(
        agent,
        [
            # As firewall-cmd leaves it on a host without NetworkManager.
            "sed -i '/cni0/d' /etc/firewalld/zones/k3s.xml",
            "cp /usr/lib/firewalld/zones/work.xml /etc/firewalld/zones/",
            'sed -i \'s,</zone>,<interface name="cni0"/><interface name="wg0"/></zone>,\' '
            "/etc/firewalld/zones/work.xml",
            "firewall-cmd -q --reload",
        ],
        ["rm /etc/firewalld/zones/work.xml*", "firewall-cmd -q --reload"],
    ):
        report, code = checked(applied)
        (problem,) = report["problems"]
        assert (report["status"], code) == ("WARN", 1)
        assert problem.startswith("conflict zone -> a2: cni0 is in zone work (at runtime and perm")
        assert ". Fix: salt a2 state.apply k3s.routes && salt a2 cmd.run " in problem
        assert report["interfaces"]["cni0"]["meaning"] == "pods here are judged by zone work"
        type_mend(applied, problem)
        report, code = checked(applied)
        assert (report["problems"], code) == ([], 0)
        assert report["interfaces"]["cni0"] == {
            "runtime": "k3s",
            "permanent": "k3s",
            "network_manager": "unmanaged",
            "meaning": "pods come in by it",
        }


def test_a_port_for_servers_only_is_too_wide_on_an_agent(applied):
    opened, office = "port=2379/tcp", "source=198.51.100.0/24"
    deed = [each for option in (opened, office) for each in in_both(f"--add-{option}")]
    with done(applied.host("a2"), deed, in_both(f"--remove-{office}")):
        report, code = checked(applied, full=True)
        (problem,) = report["problems"]
        assert (report["status"], code) == ("FAIL", 2)
        assert problem.startswith(
            "exposed tcp/2379 server -> a2: zone work (198.51.100.0/24) opens these ports to "
            "198.51.100.0/24 (at runtime and permanently); row etcd allows fewer sources"
        )
        (row,) = [row for row in report["checks"] if row["status"] == "exposed"]
        assert (row["expect"], row["description"]) == ("closed", "Etcd Service")
        type_mend(applied, problem)
        assert checked(applied)[1] == 0
    # A state run has no rows of servers, and says so.
    report, code = checked(applied, refresh=False)
    assert (code, [each.partition(":")[0] for each in report["problems"]]) == (
        1,
        ["unproven zones -> a2"],
    )


def test_a_check_that_could_not_run_has_its_own_return_code(applied):
    with applied.site({"k3s": {"pod_cidrs": ["10.42.0.1/16"]}}):
        report, code = checked(applied)
        assert (report["status"], report["summary"], code) == (
            "UNKNOWN",
            "the tables were refused",
            4,
        )
    applied.host("a2").stop_firewalld()
    report, code = checked(applied)
    assert (report["summary"], code) == ("nothing could be checked", 3)
    assert json.dumps(report["problems"]).count("Fix: salt MINION state.apply k3s.firewall") == 1
