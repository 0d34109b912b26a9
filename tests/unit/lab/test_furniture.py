"""What each way of installing K3s leaves on a node of the lab."""

import dataclasses
import json

import pytest

from lab.k3s import furniture
from lab.spec import DEFAULT_HOSTS, WAYS, Card, HostSpec, Installation, from_record

SERVER = HostSpec("s1", "server", 11)


def left(role="agent", **installation):
    """The files of a node beside one server, by their paths."""
    spec = HostSpec("x1", role, 31, installation=Installation(**installation))
    return {file.path: file for file in furniture.files(spec, (SERVER, spec))}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("role", ["server", "agent"])
def test_every_way_tells_k3s_its_role_and_address_once(way, role):
    files = left(role, way=way)
    command = [
        file.content
        for path, file in files.items()
        if path.startswith(("etc/systemd/system/k3s", "etc/init.d", "etc/conf.d", "var/nix"))
    ]
    words = "".join(command).replace('"', " ").split()
    assert words.count(role) == 1
    everything = "".join(file.content for file in files.values())
    assert everything.count("node-ip") == 1 and "192.0.2.31,2001:db8::31" in everything


@pytest.mark.parametrize("way", WAYS)
def test_every_way_enables_its_service(way):
    files = left(way=way)
    (link,) = [path for path in files if ".wants/" in path or "/runlevels/" in path]
    assert files[link].target.lstrip("/") in files


@pytest.mark.parametrize(
    ("way", "of_a_server", "of_an_agent"),
    [
        ("install.sh", "k3s", "k3s-agent"),
        ("install.sh on OpenRC", "k3s", "k3s-agent"),
        ("PyratLabs", "k3s", "k3s"),
        ("techno-tim", "k3s", "k3s-node"),
        ("NixOS", "k3s", "k3s"),
        ("Alpine", "k3s", "k3s"),
    ],
)
def test_a_service_is_called_as_the_way_calls_it(way, of_a_server, of_an_agent):
    names = [
        furniture.service_of(HostSpec("x1", role, 31, installation=Installation(way)))
        for role in ("server", "agent")
    ]
    assert names == [of_a_server, of_an_agent]


def test_the_installer_quotes_each_flag_on_a_line_of_its_own():
    unit = left(config_file="", service="k3s-edge")["etc/systemd/system/k3s-edge.service"]
    assert unit.content.endswith(
        "\nExecStart=/usr/local/bin/k3s \\\n"
        "    agent \\\n"
        "\t'--node-ip=192.0.2.31,2001:db8::31' \\\n"
        "\n"
    )


def test_a_configuration_elsewhere_is_named_by_the_environment():
    files = left(config_file="/etc/k3s.yaml", data_dir="/var/k3s")
    assert files["etc/k3s.yaml"].content == (
        'node-ip: "192.0.2.31,2001:db8::31"\ndata-dir: "/var/k3s"\n'
    )
    environment = files["etc/systemd/system/k3s-agent.service.env"]
    assert "K3S_CONFIG_FILE='/etc/k3s.yaml'\n" in environment.content
    assert "var/k3s/agent/etc/k3s-agent-load-balancer.json" in files


def test_the_addresses_of_a_node_are_those_that_k3s_was_told_or_those_of_eth0():
    told = Installation(flags=("--node-ip=10.0.0.1", "--node-external-ip=192.0.2.31"))
    inside = Card("eth0", "inner", ("10.0.0.1/24",))
    assert furniture.node_ips(HostSpec("x1", "agent", 31, installation=told)) == [
        "10.0.0.1",
        "192.0.2.31",
    ]
    untold = Installation(flags=())
    assert furniture.node_ips(
        HostSpec("x1", "agent", 31, installation=untold, cards=(inside,))
    ) == ["10.0.0.1"]


@pytest.mark.parametrize("spec", DEFAULT_HOSTS)
def test_a_lab_remembers_its_hosts_as_they_are(spec):
    shaped = dataclasses.replace(
        spec,
        installation=Installation("NixOS", flags=("--debug",)),
        cards=(Card("eth1", "inner", ("10.0.0.1/24",)),),
        gateway="192.0.2.1",
        translates=(("192.0.2.7", "10.0.0.7"),),
    )
    for each in (spec, shaped):
        assert from_record(json.loads(json.dumps(dataclasses.asdict(each)))) == each
