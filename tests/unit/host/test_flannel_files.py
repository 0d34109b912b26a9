"""What K3s and flannel wrote down is read as flannel reads it; what is unreadable stays unknown."""

from __future__ import annotations

import json
import os

import pytest

from k3sfw_engine.host.flannel_files import (
    data_folder,
    parse_flannel_config,
    read_flannel_config,
    read_running_networks,
)
from k3sfw_engine.host.wireguard_port import read_wireguard_port

USUAL = "var/lib/rancher/k3s"
MOVED = "data/k3s"


def write(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def configured(backend, **networks):
    return parse_flannel_config(json.dumps({**networks, "Backend": backend}))


def names(config):
    return [str(network) for network in config.networks]


def test_flannels_own_defaults_hold_where_the_file_says_nothing():
    found = configured({"Type": "vxlan"}, Network="10.42.0.0/16", IPv6Network="::/0")
    assert (found.kind, found.vni, found.ports) == ("vxlan", 1, {})
    assert (names(found), found.direct_routing) == (["10.42.0.0/16"], False)
    assert found.devices == ("flannel.1", "flannel-v6.1")


def test_another_number_and_port_give_other_devices():
    found = configured(
        {"Type": "vxlan", "VNI": 4096, "Port": 4789, "DirectRouting": True},
        Network="10.244.0.0/16",
        IPv6Network="fd42::/56",
    )
    assert found.devices == ("flannel.4096", "flannel-v6.4096")
    assert (found.ports, found.direct_routing) == ({4: 4789, 6: 4789}, True)
    assert names(found) == ["10.244.0.0/16", "fd42::/56"]


def test_keys_are_read_in_any_case_as_go_reads_them():
    found = parse_flannel_config('{"network": "10.1.0.0/16", "backend": {"type": "VXLAN"}}')
    assert (names(found), found.kind) == (["10.1.0.0/16"], "vxlan")


def test_wireguard_has_its_own_ports():
    assert configured({"Type": "wireguard"}).ports == {4: 51820, 6: 51821}
    assert configured({"Type": "wireguard", "ListenPort": 5000}).ports == {4: 5000, 6: 51821}
    assert configured({"Type": "wireguard"}).devices == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        '{"Backend": "vxlan"}',
        '{"Backend": {"Type": "vxlan", "VNI": "1"}}',
        '{"Backend": {"Type": "vxlan", "VNI": true}}',
        '{"Backend": {"Type": "vxlan", "VNI": 99999999}}',
        '{"Backend": {"Type": "vxlan", "Port": -1}}',
        '{"Network": "10.42", "Backend": {"Type": "vxlan"}}',
        "[" * 60000,
        "\x00",
        '{"x": "' + "y" * 70000 + '"}',
    ],
)
def test_a_file_that_flannel_could_not_read_is_unknown_and_said(tmp_path, text):
    write(tmp_path, "agent/etc/flannel/net-conf.json", text)
    config, unread = read_flannel_config(tmp_path)
    assert config is None
    assert len(unread) == 1


def test_no_file_is_no_problem(tmp_path):
    assert read_flannel_config(tmp_path) == (None, ())
    assert read_running_networks(tmp_path) == ()


def test_the_networks_of_a_running_flannel_are_those_that_it_wrote_down(tmp_path):
    write(
        tmp_path,
        "run/flannel/subnet.env",
        "FLANNEL_NETWORK=10.44.0.0/16\nFLANNEL_SUBNET=10.44.1.1/24\n"
        "FLANNEL_IPV6_NETWORK=fd44::/56\nFLANNEL_MTU=1450\n",
    )
    assert list(map(str, read_running_networks(tmp_path))) == ["10.44.0.0/16", "fd44::/56"]
    write(tmp_path, "run/flannel/subnet.env", "FLANNEL_NETWORK=nonsense\n")
    assert read_running_networks(tmp_path) == ()


def test_a_moved_data_folder_is_that_of_a_running_k3s(tmp_path):
    assert data_folder(tmp_path) == tmp_path / USUAL
    process = tmp_path / "proc/77"
    process.mkdir(parents=True)
    os.symlink(f"/{MOVED}/data/{'a1' * 32}/bin/k3s", process / "exe")
    assert data_folder(tmp_path) == tmp_path / MOVED
    (tmp_path / USUAL / "agent").mkdir(parents=True)
    assert data_folder(tmp_path) == tmp_path / USUAL


def test_other_programs_do_not_tell_a_data_folder(tmp_path):
    for number, program in enumerate(("/usr/bin/k3s", "/opt/data/v1/bin/k3s", "/x/bin/containerd")):
        process = tmp_path / f"proc/{number}"
        process.mkdir(parents=True)
        os.symlink(program, process / "exe")
    (tmp_path / "proc/self").mkdir()
    assert data_folder(tmp_path) == tmp_path / USUAL


def test_a_device_that_does_not_exist_has_no_port():
    assert read_wireguard_port("k3sfw-no-such") is None
