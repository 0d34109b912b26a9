"""The grains that a host's files give, and the operator's values that win over them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given, strategies as st
from salt._logging.impl import shutdown_temp_handler

from _grains import k3s
from tests.paths import ROOT
from tests.unit.masterless import configure, salt_call
from tests.unit.salt.k3s_hosts import Host

SUBNETS = "run/flannel/subnet.env"


@pytest.fixture(autouse=True, scope="module")
def _no_deferred_log():
    """Keep Salt from writing our warnings later to a stderr that pytest has closed."""
    shutdown_temp_handler()


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def test_a_host_without_k3s_has_no_grains_and_logs_nothing(host, caplog):
    assert host.grains() == {}
    assert not caplog.records


def test_a_role_set_by_hand_brings_the_other_grains_to_a_host_without_k3s(host):
    assert host.grains(operator={"k3s_role": "server"}) == {
        "k3s_role": "server",
        "k3s_cluster": "default",
        "k3s_node_ips": ["192.0.2.11", "2001:db8::11"],
    }


def test_each_value_set_by_hand_wins_on_its_own(host):
    host.install_sh("server")
    assert host.grains(operator={"k3s_cluster": "east"})["k3s_cluster"] == "east"
    by_hand = {"k3s_node_ips": ["192.0.2.99"]}
    assert host.grains(operator=by_hand)["k3s_node_ips"] == ["192.0.2.99"]


def test_an_image_has_only_the_addresses_that_are_set_by_hand(host, monkeypatch):
    monkeypatch.setenv("SYSTEMD_OFFLINE", "1")
    found = host.grains(operator={"k3s_role": "server"})
    assert (found["k3s_image"], found["k3s_node_ips"]) == (True, [])
    by_hand = {"k3s_role": "server", "k3s_node_ips": ["192.0.2.99"]}
    assert host.grains(operator=by_hand)["k3s_node_ips"] == ["192.0.2.99"]


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
def test_the_pod_networks_are_those_in_the_subnet_file_of_flannel(content, networks, host):
    host.write(SUBNETS, content)
    assert host.grains(operator={"k3s_role": "agent"})["k3s_pod_cidrs"] == networks


@pytest.mark.parametrize(
    "content", ["", "=", "FLANNEL_SUBNET=0.0.0.0/0", "FLANNEL_SUBNET=10.42.1.1/240", "\udcff"]
)
def test_without_a_subnet_file_there_is_no_such_grain_and_no_warning(content, host, caplog):
    host.write(SUBNETS, content.encode("utf-8", "surrogateescape"))
    assert "k3s_pod_cidrs" not in host.grains(operator={"k3s_role": "agent"})
    assert not caplog.records


def test_pod_networks_set_by_hand_win_even_an_empty_list(host):
    host.write(SUBNETS, SUBNET_FILE)
    for by_hand in (["10.42.9.0/24"], []):
        operator = {"k3s_role": "agent", "k3s_pod_cidrs": by_hand}
        assert host.grains(operator=operator)["k3s_pod_cidrs"] == by_hand


@given(st.binary() | st.text().map(str.encode))
def test_no_subnet_file_crashes_the_grains(tmp_path_factory, content):
    host = Host(tmp_path_factory.mktemp("host"))
    host.write(SUBNETS, content)
    assert host.grains(operator={"k3s_role": "agent"})["k3s_role"] == "agent"


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
