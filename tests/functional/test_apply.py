"""What an operator can rely on when the rules are applied to a real firewalld."""

import shlex

import pytest

from tests.selection import exhaustive

STOLEN = "/run/stolen"


def steal(node, *programs):
    """Take programs away from the host, so that starting one fails."""
    for program in programs:
        node.run("mount", "--bind", "/bin/false", program)


def test_the_first_apply_reloads_once_and_is_complete(node, pillar):
    with node.reload_counter() as reloads:
        outcome = node.call("apply", pillar)
        assert len(outcome["reloads"]) == 1
        assert reloads.count() == 1
    assert node.call("compare", pillar)["changes"] == {}
    rules = node.firewall_cmd("--policy=k3s-rows", "--list-rich-rules")
    assert rules == node.firewall_cmd("--permanent", "--policy=k3s-rows", "--list-rich-rules")
    assert 'source ipset="k3s-server-4" port port="2379-2380" protocol="tcp" accept' in rules
    assert node.firewall_cmd("--ipset=k3s-server-4", "--get-entries").split() == [
        "192.0.2.11",
        "192.0.2.12",
    ]


def test_a_second_apply_touches_nothing_and_starts_no_firewall_cmd(node, pillar):
    node.call("apply", pillar)
    before = node.everything()
    steal(node, "/usr/bin/firewall-cmd", "/usr/bin/firewall-offline-cmd")
    with node.reload_counter() as reloads:
        assert node.call("apply", pillar) == {"changes": {}, "reloads": [], "notices": []}
        assert reloads.count() == 0
    node.run("umount", "/usr/bin/firewall-cmd")
    assert node.everything() == before


def test_test_mode_touches_nothing_and_predicts_the_real_run(node, pillar):
    before = node.everything()
    predicted = node.call("apply", pillar, test=True)
    assert node.everything() == before
    assert node.call("apply", pillar) == predicted

    del pillar["ports"]["manager"]["redis"]
    pillar["nodes"]["a2"] = {"role": "agent", "addresses": ["192.0.2.22"]}
    node.firewall_cmd("--policy=k3s-rows", "--add-port=99/tcp")
    node.path("/etc/firewalld/ipsets/k3s-node-6.xml").unlink()
    before = node.everything()
    predicted = node.call("apply", pillar, test=True)
    assert node.everything() == before
    assert node.call("apply", pillar) == predicted


def test_what_is_in_force_stays_in_force_after_a_reload_and_a_restart(node, pillar):
    node.call("apply", pillar)
    node.firewall_cmd("--reload")
    assert node.call("compare", pillar)["changes"] == {}
    node.host.restart_firewalld()
    assert node.call("compare", pillar)["changes"] == {}


def row(pillar):
    pillar["ports"]["cluster"]["api"] = {
        "protocol": "tcp",
        "port": 6443,
        "source": "any",
        "destination": "server",
    }


def port(pillar):
    pillar["ports"]["manager"]["redis"]["port"] = [6379, "6390-6399"]


def row_off(pillar):
    pillar["ports"]["manager"]["redis"] = {"enabled": False}


def new_group(pillar):
    pillar["groups"] = {"admins": ["198.51.100.0/24", "2001:db8:1::/48"]}
    pillar["ports"]["manager"]["redis"]["source"] = "admins"


def narrower_clients(pillar):
    pillar["groups"] = {"clients": ["203.0.113.0/24"]}


def node_joined(pillar):
    pillar["nodes"]["a2"] = {"role": "agent", "addresses": ["192.0.2.22", "2001:db8::22"]}


def node_left(pillar):
    del pillar["nodes"]["s2"]


def role_changed(pillar):
    pillar["nodes"]["a1"]["role"] = "server"


def backend(pillar):
    pillar["flannel_backend"] = "host-gw"


def pods_off(pillar):
    pillar["ports"]["cluster"]["pods"] = {"enabled": False}


@pytest.mark.parametrize(
    "change",
    [
        row,
        new_group,
        node_left,
        *map(
            exhaustive,
            (port, row_off, narrower_clients, node_joined, role_changed, backend, pods_off),
        ),
    ],
)
def test_a_later_change_needs_no_reload_and_survives_one(node, pillar, change):
    node.call("apply", pillar)
    change(pillar)
    with node.reload_counter() as reloads:
        outcome = node.call("apply", pillar)
        assert outcome["changes"]
        assert reloads.count() == 0
    assert node.call("compare", pillar)["changes"] == {}
    node.firewall_cmd("--reload")
    after_reload = node.call("apply", pillar)
    assert after_reload["reloads"] == []
    assert node.call("compare", pillar)["changes"] == {}


def test_a_group_that_comes_and_goes_leaves_nothing_behind(node, pillar):
    node.call("apply", pillar)
    node.firewall_cmd("--reload")
    files = sorted(node.files())
    kept = dict(pillar["ports"]["manager"]["redis"])
    new_group(pillar)
    node.call("apply", pillar)
    node.firewall_cmd("--reload")
    node.call("apply", pillar)
    assert "k3s-group-admins-4" in node.firewall_cmd("--get-ipsets")
    del pillar["groups"]
    pillar["ports"]["manager"]["redis"] = kept
    with node.reload_counter() as reloads:
        node.call("apply", pillar)
        assert reloads.count() == 0
    assert node.call("compare", pillar)["changes"] == {}
    assert "admins" not in "".join(name for name in node.files() if not name.endswith(".old"))
    assert [name for name in node.files() if not name.endswith(".old")] == [
        name for name in files if not name.endswith(".old")
    ]


def test_an_incomplete_peer_list_adds_new_nodes_and_removes_none(node, pillar):
    node.call("apply", pillar)
    del pillar["nodes"]["s2"]
    pillar["nodes"]["a2"] = {"role": "agent", "addresses": ["192.0.2.22"]}
    pillar["firewall"] = {"expected_nodes": 4}
    outcome = node.call("apply", pillar)
    assert node.firewall_cmd("--ipset=k3s-node-4", "--get-entries").split() == [
        "192.0.2.11",
        "192.0.2.12",
        "192.0.2.21",
        "192.0.2.22",
    ]
    assert "expected_nodes is 4" in " ".join(outcome["notices"])
    assert node.call("apply", pillar)["changes"] == {}


def test_a_thousand_nodes_are_allowed_and_read_back(node, pillar):
    pillar["nodes"].update(
        {
            f"n{number}": {
                "role": "agent",
                "addresses": [f"198.18.{number // 250}.{number % 250 + 1}"],
            }
            for number in range(1000)
        }
    )
    node.call("apply", pillar)
    assert len(node.firewall_cmd("--ipset=k3s-node-4", "--get-entries").split()) == 1003
    assert node.call("apply", pillar) == {"changes": {}, "reloads": [], "notices": []}


def test_interfaces_that_are_bound_elsewhere_stay_there(node, pillar):
    node.firewall_cmd("--permanent", "--zone=trusted", "--add-interface=cni0")
    node.firewall_cmd("--zone=trusted", "--add-interface=cni0")
    outcome = node.call("apply", pillar)
    assert "interface cni0 is bound to zone trusted" in outcome["notices"][0]
    assert node.firewall_cmd("--zone=trusted", "--list-interfaces") == "cni0"
    assert "flannel.1" in node.firewall_cmd("--zone=k3s", "--list-interfaces")
    assert node.call("apply", pillar)["changes"] == {}


def test_the_iptables_backend_works_and_the_kernel_layer_is_reported_as_unknown(node, pillar):
    configuration = node.path("/etc/firewalld/firewalld.conf")
    configuration.write_text(
        configuration.read_text().replace("FirewallBackend=nftables", "FirewallBackend=iptables")
    )
    node.host.restart_firewalld()
    node.call("apply", pillar)
    assert node.call("apply", pillar)["changes"] == {}
    report = node.call("check_ports", pillar)
    assert report["status"] == "WARN"
    assert set(report["counts"]) == {"unproven"}


def test_a_firewalld_that_lacks_the_ipset_program_is_told_so_before_anything_is_touched(
    node, pillar
):
    """Debian's package only recommends it, and the iptables backend does nothing without it."""
    configuration = node.path("/etc/firewalld/firewalld.conf")
    configuration.write_text(
        configuration.read_text().replace("FirewallBackend=nftables", "FirewallBackend=iptables")
    )
    node.run("mv", "/usr/sbin/ipset", "/usr/sbin/ipset.away")
    try:
        node.host.restart_firewalld()
        for test in (True, False):
            (sentence,) = node.try_call("apply", pillar, test=test)["refused"]
            assert "Fix: install the package ipset and restart firewalld" in sentence
        assert "k3s-rows" not in node.firewall_cmd("--get-policies")
    finally:
        node.run("mv", "/usr/sbin/ipset.away", "/usr/sbin/ipset")
    node.host.restart_firewalld()
    assert node.call("apply", pillar)["changes"] != {}


def typed(node, script):
    """Each command by itself, which is quicker: it need not start an interpreter."""
    for line in script.splitlines():
        program, *words = shlex.split(line, comments=True) or [""]
        if program == "firewall-cmd":
            node.firewall_cmd(*words)


def run_by_a_shell(node, script):
    node.path("/run/k3s-rules.sh").write_text(script)
    node.run("sh", "/run/k3s-rules.sh")


@pytest.mark.parametrize("run", [typed, exhaustive(run_by_a_shell)])
def test_the_script_creates_the_same_objects_as_apply(node, pillar, run):
    run(node, node.call("script", pillar)["script"])
    assert node.call("compare", pillar)["changes"] == {}


def test_a_prepared_firewalld_starts_complete_and_needs_no_reload(node, pillar):
    node.host.stop_firewalld()
    options = {"masters": ["192.0.2.10"], "master_ports": [4505, 4506]}
    predicted = node.call("prepare", pillar, test=True, **options)
    assert predicted["changes"]
    assert not node.path("/etc/firewalld/policies/k3s-rows.xml").exists()
    assert node.call("prepare", pillar, **options) == predicted
    assert node.call("prepare", pillar, **options)["changes"] == {}
    node.host.start_firewalld()
    assert node.call("apply", pillar) == {"changes": {}, "reloads": [], "notices": []}
    assert node.firewall_cmd("--policy=k3s-return-path", "--list-rich-rules").split("\n") == [
        'rule family="ipv4" source address="192.0.2.10" source-port port="4505" '
        'protocol="tcp" accept',
        'rule family="ipv4" source address="192.0.2.10" source-port port="4506" '
        'protocol="tcp" accept',
    ]
    node.call("remove")
    assert "k3s" not in node.firewall_cmd("--get-policies")


def test_prepare_leaves_a_running_firewalld_alone(node, pillar):
    before = node.everything()
    answer = node.call("prepare", pillar, masters=["192.0.2.10"], master_ports=[4505, 4506])
    assert answer["changes"] == {}
    assert node.everything() == before


def test_an_unknown_name_of_the_master_is_reported_before_anything_is_prepared(node, pillar):
    node.host.stop_firewalld()
    before = node.files()
    answer = node.try_call("prepare", pillar, masters=["master.invalid"], master_ports=[4505, 4506])
    assert "master.invalid" in answer["refused"][0]
    assert node.files() == before
