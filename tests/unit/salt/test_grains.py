"""The grains that a host's files give, and the operator's values that win over them."""

from __future__ import annotations

import ipaddress
import json
import logging
import subprocess
import sys

import pytest
import yaml
from hypothesis import given, strategies as st
from salt._logging.impl import shutdown_temp_handler

from _grains import k3s
from tests.paths import ROOT
from tests.unit.masterless import configure, salt_call

GRAINS = {
    "ip4_interfaces": {
        "lo": ["127.0.0.1"],
        "eth1": ["198.51.100.7"],
        "eth0": ["192.0.2.200", "192.0.2.11", "169.254.0.9"],
        "cni0": ["10.42.0.1"],
        "docker0": ["172.17.0.1"],
    },
    "ip6_interfaces": {
        "lo": ["::1"],
        "eth0": ["2001:db8::11", "fe80::1"],
        "flannel-v6.1": ["fd42::"],
        "cilium_host": ["fd42::1"],
    },
}
OF_INTERFACES = ["192.0.2.11", "192.0.2.200", "198.51.100.7", "2001:db8::11"]


@pytest.fixture(autouse=True, scope="module")
def _no_deferred_log():
    """Keep Salt from writing our warnings later to a stderr that pytest has closed."""
    shutdown_temp_handler()


def write(root, path, text=""):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def node(root, operator=None, grains=GRAINS):
    return k3s._node(root, operator or {}, grains)


def addresses_with(root, configuration):
    write(root, "etc/systemd/system/k3s.service")
    write(root, k3s.CONFIGURATION, configuration)
    return node(root)["k3s_node_ips"]


def test_a_host_without_k3s_has_no_grains_and_logs_nothing(tmp_path, caplog):
    assert node(tmp_path) == {}
    assert not caplog.records


@pytest.mark.parametrize(
    ("files", "role"),
    [
        (["etc/systemd/system/k3s.service"], "server"),
        (["usr/lib/systemd/system/k3s-agent.service"], "agent"),
        (["run/systemd/system/k3s-agent.service"], "agent"),
        (["etc/init.d/k3s"], "server"),
        (["etc/init.d/k3s-agent"], "agent"),
        (["var/lib/rancher/k3s/server/token", "var/lib/rancher/k3s/agent/kubelet"], "server"),
        (["var/lib/rancher/k3s/agent/kubelet"], "agent"),
        (["etc/init.d/k3s-agent", "var/lib/rancher/k3s/server/token"], "agent"),
        (["etc/init.d/k3s", "etc/init.d/k3s-agent", "var/lib/rancher/k3s/agent/x"], "agent"),
        (["etc/init.d/k3s", "etc/init.d/k3s-agent"], None),
    ],
)
def test_the_role_comes_from_the_services_and_else_from_the_data_folder(files, role, tmp_path):
    for path in files:
        write(tmp_path, path)
    assert node(tmp_path).get("k3s_role") == role


def test_a_masked_service_does_not_count(tmp_path):
    write(tmp_path, "usr/lib/systemd/system/k3s.service")
    write(tmp_path, "etc/systemd/system/k3s-agent.service")
    (tmp_path / "etc/systemd/system/k3s.service").symlink_to("/dev/null")
    assert node(tmp_path)["k3s_role"] == "agent"


def test_the_data_folder_is_the_configured_one(tmp_path):
    write(tmp_path, k3s.CONFIGURATION, "data-dir: /srv/k3s")
    write(tmp_path, "srv/k3s/agent/kubelet")
    write(tmp_path, "var/lib/rancher/k3s/server/token")
    assert node(tmp_path)["k3s_role"] == "agent"


def test_a_role_set_by_hand_brings_the_other_grains_to_a_host_without_k3s(tmp_path):
    assert node(tmp_path, {"k3s_role": "server"}) == {
        "k3s_role": "server",
        "k3s_cluster": "default",
        "k3s_node_ips": OF_INTERFACES,
    }


def test_an_empty_role_set_by_hand_means_not_a_node(tmp_path):
    write(tmp_path, "etc/systemd/system/k3s.service")
    assert node(tmp_path, {"k3s_role": ""}) == {}


def test_each_value_set_by_hand_wins_on_its_own(tmp_path):
    write(tmp_path, "etc/systemd/system/k3s.service")
    assert node(tmp_path, {"k3s_cluster": "east"})["k3s_cluster"] == "east"
    assert node(tmp_path, {"k3s_node_ips": ["192.0.2.99"]})["k3s_node_ips"] == ["192.0.2.99"]


@pytest.mark.parametrize(
    ("configuration", "addresses"),
    [
        ("node-ip: 192.0.2.11", ["192.0.2.11"]),
        ("node-ip: '2001:db8::11, 192.0.2.11'", ["192.0.2.11", "2001:db8::11"]),
        ("node-ip: [2001:db8::11, 192.0.2.11]", ["192.0.2.11", "2001:db8::11"]),
        ("node-ip: 2001:10:0:0:0:0:0:1", ["2001:10::1"]),  # a number to YAML 1.1
        ("node-ip: ::ffff:192.0.2.11", ["192.0.2.11"]),
        ("node-ip: 192.0.2.10\nnode-ip+: 192.0.2.9", ["192.0.2.9", "192.0.2.10"]),
        ("node-ip+: 192.0.2.10", ["192.0.2.10"]),
        ("node-ip:", OF_INTERFACES),
        ("node-ip: 0.0.0.0", OF_INTERFACES),
        ("", OF_INTERFACES),
    ],
)
def test_node_ip_is_read_as_k3s_reads_it(configuration, addresses, tmp_path, caplog):
    assert addresses_with(tmp_path, configuration) == addresses
    assert not caplog.records


def test_later_configuration_files_win_or_append(tmp_path):
    write(tmp_path, f"{k3s.CONFIGURATION}.d/20-b.yaml", "node-ip+: 192.0.2.3")
    write(tmp_path, f"{k3s.CONFIGURATION}.d/10-a.YML", "node-ip: 192.0.2.2")
    write(tmp_path, f"{k3s.CONFIGURATION}.d/30-c.json", "node-ip: 192.0.2.4")
    write(tmp_path, f"{k3s.CONFIGURATION}.d/40-d.yaml/e", "a folder")
    assert addresses_with(tmp_path, "node-ip: 192.0.2.1") == ["192.0.2.2", "192.0.2.3"]


@pytest.mark.parametrize(
    "configuration",
    ["node-ip: [", "- node-ip", "word", "node-ip: eth0", "node-ip: {a: b}", "\x00", "a: \udcff"],
)
def test_a_broken_configuration_is_reported_and_never_means_no_address(
    configuration, tmp_path, caplog
):
    write(tmp_path, "etc/systemd/system/k3s.service")
    file = tmp_path / k3s.CONFIGURATION
    file.parent.mkdir(parents=True)
    file.write_bytes(configuration.encode("utf-8", "surrogateescape"))
    with caplog.at_level(logging.WARNING):
        assert node(tmp_path)["k3s_node_ips"] == OF_INTERFACES
    (message,) = (record.getMessage() for record in caplog.records)
    assert "k3s/config.yaml" in message
    assert "saltutil.refresh_grains" in message


ADDRESSES = st.lists(
    st.one_of(
        st.ip_addresses(v=4, network="192.0.2.0/24"), st.ip_addresses(v=6, network="2001:db8::/64")
    ),
    min_size=1,
)


@given(ADDRESSES, st.booleans(), st.booleans())
def test_any_list_of_addresses_is_complete_sorted_and_unique(tmp_path_factory, ips, joined, flow):
    texts = [str(ip) for ip in ips]
    value = ", ".join(texts) if joined else texts
    configuration = yaml.safe_dump({"node-ip": value}, default_flow_style=flow)
    found = addresses_with(tmp_path_factory.mktemp("host"), configuration)
    expected = sorted(
        {ipaddress.ip_address(text) for text in texts}, key=lambda ip: (ip.version, ip)
    )
    assert found == [str(ip) for ip in expected]


@given(st.binary() | st.text().map(str.encode))
def test_no_configuration_crashes_the_grains(tmp_path_factory, content):
    root = tmp_path_factory.mktemp("host")
    write(root, "etc/systemd/system/k3s.service")
    write(root, k3s.CONFIGURATION)
    (root / k3s.CONFIGURATION).write_bytes(content)
    assert node(root)["k3s_node_ips"] == OF_INTERFACES


# As written by flannel: the addresses are those of the bridge.
SUBNET_FILE = """FLANNEL_NETWORK=10.42.0.0/16
FLANNEL_SUBNET=10.42.1.1/24
FLANNEL_IPV6_NETWORK=fd42::/56
FLANNEL_IPV6_SUBNET=fd42:0:0:1::1/64
FLANNEL_MTU=1420
FLANNEL_IPMASQ=true
"""


@pytest.mark.parametrize(
    ("content", "networks"),
    [
        (SUBNET_FILE, ["10.42.1.0/24", "fd42:0:0:1::/64"]),
        ("FLANNEL_SUBNET=10.42.1.1/24\n", ["10.42.1.0/24"]),
        ("FLANNEL_IPV6_SUBNET=fd42:0:0:1::1/64", ["fd42:0:0:1::/64"]),
        ("FLANNEL_SUBNET=\nFLANNEL_IPV6_SUBNET=fd42:0:0:1::1/64", ["fd42:0:0:1::/64"]),
    ],
)
def test_the_pod_networks_are_those_in_the_subnet_file_of_flannel(content, networks, tmp_path):
    write(tmp_path, k3s.SUBNET_FILE, content)
    assert node(tmp_path, {"k3s_role": "agent"})["k3s_pod_cidrs"] == networks


@pytest.mark.parametrize(
    "content", ["", "=", "FLANNEL_SUBNET=0.0.0.0/0", "FLANNEL_SUBNET=10.42.1.1/240", "\udcff"]
)
def test_without_a_subnet_file_there_is_no_such_grain_and_no_warning(content, tmp_path, caplog):
    write(tmp_path, k3s.SUBNET_FILE)
    (tmp_path / k3s.SUBNET_FILE).write_bytes(content.encode("utf-8", "surrogateescape"))
    assert "k3s_pod_cidrs" not in node(tmp_path, {"k3s_role": "agent"})
    assert not caplog.records


def test_pod_networks_set_by_hand_win_even_an_empty_list(tmp_path):
    write(tmp_path, k3s.SUBNET_FILE, SUBNET_FILE)
    for by_hand in (["10.42.9.0/24"], []):
        operator = {"k3s_role": "agent", "k3s_pod_cidrs": by_hand}
        assert node(tmp_path, operator)["k3s_pod_cidrs"] == by_hand


@given(st.binary() | st.text().map(str.encode))
def test_no_subnet_file_crashes_the_grains(tmp_path_factory, content):
    root = tmp_path_factory.mktemp("host")
    write(root, k3s.SUBNET_FILE)
    (root / k3s.SUBNET_FILE).write_bytes(content)
    assert node(root, {"k3s_role": "agent"})["k3s_role"] == "agent"


@pytest.fixture
def minion(tmp_path):
    """Return the folder of a masterless minion with our grains and the operator's."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/grains").symlink_to(ROOT / "_grains")

    def configured(in_configuration, in_grains_file):
        own = {"grains": in_configuration} if in_configuration else {}
        configure(tmp_path, module_dirs=[str(tmp_path / "modules")], **own)
        (tmp_path / "grains").write_text(json.dumps(in_grains_file))
        return tmp_path

    return configured


def test_salt_returns_the_operators_values(minion):
    folder = minion({"k3s_role": "agent"}, {"k3s_role": "server", "k3s_cluster": "east"})
    grains = salt_call(folder, "grains.item", *k3s.NAMES)
    assert (grains["k3s_role"], grains["k3s_cluster"]) == ("agent", "east")
    assert isinstance(grains["k3s_node_ips"], list)


def test_a_computed_value_is_never_mistaken_for_the_operators(minion):
    folder = minion({}, {"k3s_role": "server", "k3s_cluster": "east"})
    code = f"""
import json, salt.config, salt.loader
opts = salt.config.minion_config({str(folder / "minion")!r})
for content in (None, {{"k3s_role": "agent"}}, {{"k3s_role": None}}):
    if content is not None:
        with open({str(folder / "grains")!r}, "w") as file:
            json.dump(content, file)
    opts["grains"] = salt.loader.grains(opts, force_refresh=True)
    print(json.dumps([opts["grains"].get(name) for name in {k3s.NAMES[:2]!r}]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert answers[:2] == [["server", "east"], ["agent", "default"]]
    # grains.delval leaves None: the computed value counts again.
    assert answers[2] != answers[1]
