"""The configuration of K3s as K3s puts it together; what it refuses is said."""

from __future__ import annotations

import ipaddress

import pytest
import yaml
from hypothesis import given, strategies as st

from _grains import _k3s_configuration
from tests.unit.salt.k3s_hosts import CONFIGURATION, TWO_CARDS, Host

# Two cards: what is not read shows as the address of the default route's card.
INNER, OUTER = "10.0.0.11", "192.0.2.11"


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def advertised(host, configuration="", *flags, role="server", environment="", cards=TWO_CARDS):
    """What K3s tells its cluster, and the number of doubts: without flannel there is no more."""
    host.install_sh(role, *flags, "--flannel-backend=none", environment=environment)
    if configuration:
        host.write(CONFIGURATION, configuration)
    grains = host.grains(cards)
    return grains["k3s_node_ips"], len(grains.get("k3s_doubts", []))


@pytest.mark.parametrize(
    "configuration",
    [
        "node-ip: 10.0.0.11",
        "i: 10.0.0.11",
        "node-ip:\t10.0.0.11",
        "node-ip: 10.0.0.11\n---\nnode-ip: 192.0.2.11\n",
        "node-ip: 10.0.0.11\n---\n: broken: [",
        "---\nnode-ip: 10.0.0.11\n...\n",
        "node-ip: [10.0.0.11]",
        "node-ip:\n- '10.0.0.11'\n",
        '{"node-ip": "10.0.0.11"}',
        "node-ip+: 10.0.0.11",
        "node-ip: 192.0.2.11\nnode-ip: 10.0.0.11",
        "node-ip: ::ffff:10.0.0.11",
        "a: &a 10.0.0.11\nnode-ip: *a",
        "node-ip: 10.0.0.11\nunknown: {a: [b]}\n",
        "flannel-iface: eth1",
    ],
)
def test_every_form_that_k3s_reads_is_read(configuration, host):
    assert advertised(host, configuration) == ([INNER], 0)


@pytest.mark.parametrize(
    ("configuration", "addresses"),
    [
        ("node-ip: 2001:10:0:0:0:0:0:1", ["2001:10::1"]),  # a number to YAML 1.1
        ("node-ip: 10.0.0.11,2001:db8::11", ["10.0.0.11", "2001:db8::11"]),
        ("node-ip: [2001:db8::11, 10.0.0.11]", ["10.0.0.11", "2001:db8::11"]),
        ("node-ip: 10.0.0.11\nnode-ip+: 2001:db8::11", ["10.0.0.11", "2001:db8::11"]),
        ("node-ip+: 10.0.0.11\nnode-ip+: 2001:db8::11", ["10.0.0.11", "2001:db8::11"]),
    ],
)
def test_lists_are_complete(configuration, addresses, host):
    cards = {"eth0": ["10.0.0.11/24", "2001:db8::11/64", "2001:10::1/64"]}
    assert advertised(host, configuration, cards=cards) == (addresses, 0)


@pytest.mark.parametrize(
    "configuration",
    [
        "node-ip: '2001:db8::11, 10.0.0.11'",
        "node-ip: 10.0.0.11%eth0",
        "node-ip: [10.0.0.11, eth0]",
        "node-ip: [10.0.0.11, 10.0.0.12]",
        "<<: {node-ip: 10.0.0.11}",
        "x: &x {node-ip: 10.0.0.11}\n<<: [*x]",
    ],
)
def test_what_k3s_refuses_is_read_as_it_was_meant_and_said(configuration, host):
    cards = {"eth0": ["10.0.0.11/24", "10.0.0.12/24", "2001:db8::11/64"]}
    addresses, doubts = advertised(host, configuration, cards=cards)
    assert INNER in addresses
    assert doubts == 1


@pytest.mark.parametrize(
    "configuration",
    ["node-ip:", "node-ip: null", "node-ip: ''", "node-ip: 192.0.2.011", "node-ip: {a: b}",
     "node-ip: [", "- node-ip", "word", "node-ip: eth0", "\x00", "a: \udcff", "\ta: b",
     "a: " + "[" * 5000],
)  # fmt: skip
def test_a_configuration_that_names_no_address_is_said_and_leaves_k3s_own_choice(
    configuration, host
):
    host.install_sh("server", "--flannel-backend=none")
    host.write(CONFIGURATION, configuration.encode("utf-8", "surrogateescape"))
    grains = host.grains(TWO_CARDS)
    assert grains["k3s_node_ips"] == [OUTER]
    assert len(grains["k3s_doubts"]) == 1


@pytest.mark.parametrize("configuration", ["", "# nothing", "~", "{}", "node-ip: []", "a: b"])
def test_a_configuration_without_addresses_leaves_k3s_own_choice(configuration, host):
    assert advertised(host, configuration) == ([OUTER], 0)


# --- where it is ---


@pytest.mark.parametrize(
    ("flags", "environment"),
    [
        ((), "K3S_CONFIG_FILE='/etc/my/k3s.yaml'\n"),
        (("--config=/etc/my/k3s.yaml",), ""),
        (("--config", "/etc/my/k3s.yaml"), ""),
        (("-c", "/etc/my/k3s.yaml"), ""),
        (("--config=/nowhere",), "K3S_CONFIG_FILE=/etc/my/k3s.yaml\n"),
    ],
)
def test_the_file_moves_with_its_folder(flags, environment, host):
    host.write("etc/my/k3s.yaml", "node-ip: 10.0.0.12\n")
    host.write("etc/my/k3s.yaml.d/10-a.yaml", "node-ip: 10.0.0.11\n")
    host.write(f"{CONFIGURATION}.d/10-a.yaml", "node-ip: 192.0.2.11\n")
    assert advertised(host, "i: 192.0.2.11", *flags, environment=environment) == ([INNER], 0)


def test_files_come_in_the_order_of_their_names_and_later_ones_win_or_append(host):
    host.write(f"{CONFIGURATION}.d/20-b.yaml", "node-ip+: 2001:db8::11")
    host.write(f"{CONFIGURATION}.d/10-a.YML", "node-ip: 10.0.0.11")
    host.write(f"{CONFIGURATION}.d/30-c.json", "node-ip: 192.0.2.11")
    host.write(f"{CONFIGURATION}.d/40-d.yaml/e", "a folder")
    cards = {**TWO_CARDS, "eth1": ["10.0.0.11/24", "2001:db8::11/64"]}
    found = advertised(host, "node-ip: 192.0.2.11", cards=cards)
    assert found == (["10.0.0.11", "2001:db8::11"], 0)


def test_folder_alone_is_a_configuration(host):
    host.write(f"{CONFIGURATION}.d/10-a.yaml", "node-ip: 10.0.0.11")
    assert advertised(host) == ([INNER], 0)


def test_a_dangling_link_makes_k3s_ignore_every_file_and_is_said(host):
    host.link(f"{CONFIGURATION}.d/10-x.yaml", "/nowhere")
    assert advertised(host, "node-ip: 10.0.0.11") == ([OUTER], 1)


@pytest.mark.parametrize("path", ["/etc/no.yaml", "https://192.0.2.1/k3s.yaml"])
def test_a_file_that_is_not_there_or_a_url_is_said(path, host):
    assert advertised(host, "node-ip: 10.0.0.11", f"--config={path}") == ([OUTER], 1)


def test_one_broken_file_keeps_what_the_others_say_and_adds_k3s_own_choice(host):
    host.write(f"{CONFIGURATION}.d/10-a.yaml", "node-ip: [")
    assert advertised(host, "node-ip: 10.0.0.11") == ([INNER, OUTER], 1)


def test_a_key_of_servers_in_the_file_of_an_agent_is_said(host):
    found = advertised(host, "cluster-cidr: 10.9.0.0/16\nnode-ip: 10.0.0.11", role="agent")
    assert found == ([INNER], 1)


# --- the command line ---


@pytest.mark.parametrize(
    "flags",
    [
        ("--node-ip=10.0.0.11",),
        ("--node-ip", "10.0.0.11"),
        ("-node-ip=10.0.0.11",),
        ("-i", "10.0.0.11"),
        ("-i=10.0.0.11",),
        ("--kubelet-arg", "--node-ip=192.0.2.11", "--node-ip=10.0.0.11"),
        ("--flannel-iface=eth1",),
        ("--debug", "--node-ip=10.0.0.11"),
    ],
)
def test_flags_are_read_in_every_form_of_go(flags, host):
    assert advertised(host, "", *flags) == ([INNER], 0)


def test_addresses_of_file_and_command_line_add_up(host):
    cards = {**TWO_CARDS, "eth1": ["10.0.0.11/24", "2001:db8::11/64"]}
    found = advertised(host, "node-ip: 10.0.0.11", "--node-ip=2001:db8::11", cards=cards)
    assert found == (["10.0.0.11", "2001:db8::11"], 0)


def test_the_last_of_single_values_wins_and_the_environment_is_weakest(host):
    host.write("a/agent/x")
    host.write(CONFIGURATION, "data-dir: /b\n")
    run = _k3s_configuration.Run("server", ("--data-dir=/c", "-d", "/d"), {"K3S_DATA_DIR": "/a"})
    assert _k3s_configuration.read_configuration(host.root, run).data == "/d"
    run = _k3s_configuration.Run("server", (), {"K3S_DATA_DIR": "/a"})
    assert _k3s_configuration.read_configuration(host.root, run).data == "/b"
    host.write(CONFIGURATION, "")
    assert _k3s_configuration.read_configuration(host.root, run).data == "/a"


# --- anything ---

ADDRESSES = st.lists(
    st.one_of(
        st.ip_addresses(v=4, network="192.0.2.0/24"), st.ip_addresses(v=6, network="2001:db8::/64")
    ),
    min_size=1,
)


@given(ADDRESSES, st.booleans(), st.booleans())
def test_any_list_of_addresses_is_complete_sorted_and_unique(tmp_path_factory, ips, joined, flow):
    texts = [str(ip) for ip in ips]
    value = ",".join(texts) if joined else texts
    host = Host(tmp_path_factory.mktemp("host"))
    host.install_sh("server", "--flannel-backend=none")
    host.write(CONFIGURATION, yaml.safe_dump({"node-ip": value}, default_flow_style=flow))
    found = host.addresses()
    expected = sorted(
        {ipaddress.ip_address(text) for text in texts}, key=lambda ip: (ip.version, ip)
    )
    assert found == [str(ip) for ip in expected]


@given(st.binary() | st.text().map(str.encode))
def test_no_configuration_stops_the_grains_or_leaves_a_node_without_address(
    tmp_path_factory, content
):
    host = Host(tmp_path_factory.mktemp("host"))
    host.install_sh("server")
    host.write(CONFIGURATION, content)
    assert OUTER in host.addresses(TWO_CARDS)


def test_a_few_lines_that_stand_for_millions_are_read_at_once(host):
    lines = ["a0: &a0 {node-ip: 10.0.0.11}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 30)]
    assert advertised(host, "\n".join([*lines, "<<: *a29", "node-ip: 10.0.0.11"])) == ([INNER], 1)
