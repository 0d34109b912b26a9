"""What of a host decides over its packets is read from its files, its bus and its kernel."""

from __future__ import annotations

import json

import pytest
from jeepney import new_error, new_method_return
from jeepney.low_level import HeaderFields

from k3sfw_engine.commands import check_routes
from k3sfw_engine.commands.check_routes import read_host
from k3sfw_engine.errors import FirewalldUnavailable, Problem
from k3sfw_engine.host import network_manager, nft_command
from k3sfw_engine.host.nft_command import base_chains
from k3sfw_engine.model.host_facts import BaseChain, NmConnection


@pytest.fixture
def alone(monkeypatch):
    """Nothing answers but the files."""
    monkeypatch.setattr(check_routes, "read_filter_chains", lambda root: ((), ()))
    monkeypatch.setattr(check_routes, "managed_interfaces", lambda names: ())


def write(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_sysctls_are_read_by_their_path_and_what_is_not_there_is_left_out(alone, tmp_path):
    write(tmp_path, "proc/sys/net/ipv4/ip_forward", "1\n")
    write(tmp_path, "proc/sys/net/ipv4/conf/flannel.1/forwarding", "0\n")
    assert read_host(["flannel.1"], tmp_path).sysctls == {
        "net/ipv4/ip_forward": "1",
        "net/ipv4/conf/flannel.1/forwarding": "0",
    }


def test_flannels_own_note_tells_the_size_that_it_reckoned_with(alone, tmp_path):
    assert read_host([], tmp_path).flannel_mtu == 0
    write(tmp_path, "run/flannel/subnet.env", "FLANNEL_SUBNET=10.42.1.1/24\nFLANNEL_MTU=1450\n")
    assert read_host([], tmp_path).flannel_mtu == 1450


@pytest.mark.parametrize(("text", "enabled"), [("ENABLED=yes\n", True), ("ENABLED=no\n", False)])
def test_ufw_counts_where_it_is_enabled(alone, tmp_path, text, enabled):
    write(tmp_path, "etc/ufw/ufw.conf", f"# ENABLED=yes\n{text}")
    assert read_host([], tmp_path).ufw is enabled


def test_nm_cloud_setup_counts_where_it_is_enabled(alone, tmp_path):
    write(tmp_path, "usr/lib/systemd/system/nm-cloud-setup.timer", "")
    assert read_host([], tmp_path).cloud_setup is False
    wants = tmp_path / "etc/systemd/system/timers.target.wants"
    wants.mkdir(parents=True)
    (wants / "nm-cloud-setup.timer").symlink_to("/usr/lib/systemd/system/nm-cloud-setup.timer")
    assert read_host([], tmp_path).cloud_setup is True


def test_a_failure_to_read_is_reported_and_not_an_empty_answer(alone, tmp_path, monkeypatch):
    def refuse(*_arguments):
        raise FirewalldUnavailable(
            "firewalld is not running", "salt MINION state.apply k3s.firewall"
        )

    monkeypatch.setattr(check_routes, "read_filter_chains", refuse)
    assert read_host(["eth0"], tmp_path).unread == (
        Problem("firewalld is not running", "salt MINION state.apply k3s.firewall"),
    )


def enabled(root, *services):
    """Services that are enabled, as systemctl links them."""
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    for name in services:
        (wants / f"{name}.service").symlink_to(f"/etc/systemd/system/{name}.service")


@pytest.mark.parametrize(
    ("files", "wanted", "name"),
    [
        ((), (), ""),
        (("k3s-edge",), ("k3s-edge",), "k3s-edge"),
        # Of two the enabled one; ours are not K3s's.
        (("k3s", "k3s-agent"), ("k3s-agent", "k3sfw-undo"), "k3s-agent"),
        (("k3s", "k3s-agent"), ("k3s", "k3s-agent"), ""),
        (("k3s-node",), (), "k3s-node"),
        (("k3sfw-undo",), ("k3sfw-undo",), ""),
    ],
)
def test_the_service_of_k3s_is_found_by_what_is_enabled(alone, tmp_path, files, wanted, name):
    for each in files:
        write(tmp_path, f"etc/systemd/system/{each}.service", "")
    enabled(tmp_path, *wanted)
    assert read_host([], tmp_path).k3s_service == name


def test_the_service_of_k3s_is_found_where_openrc_starts_it(alone, tmp_path):
    write(tmp_path, "etc/init.d/k3s-edge", "")
    write(tmp_path, "etc/init.d/k3s-agent", "")
    levels = tmp_path / "etc/runlevels/default"
    levels.mkdir(parents=True)
    (levels / "k3s-edge").symlink_to("/etc/init.d/k3s-edge")
    found = read_host([], tmp_path)
    assert (found.k3s_service, found.openrc) == ("k3s-edge", True)
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    found = read_host([], tmp_path)
    assert (found.k3s_service, found.openrc) == ("", False)


def test_a_file_of_rules_counts_if_an_enabled_service_loads_it(alone, tmp_path):
    write(tmp_path, "etc/iptables/rules.v4", "*filter\n")
    write(tmp_path, "etc/nftables.conf", "flush ruleset\n")
    assert read_host([], tmp_path).rule_files == ()
    enabled(tmp_path, "netfilter-persistent")
    assert read_host([], tmp_path).rule_files == (
        "/etc/iptables/rules.v4 (netfilter-persistent.service)",
    )


@pytest.mark.parametrize(
    ("name", "line", "wins"),
    [
        ("rke2-canal.conf", "unmanaged-devices=interface-name:cali*", False),
        ("zzz.conf", "unmanaged-devices=interface-name:cali*", True),
        ("zzz.conf", "unmanaged-devices+=interface-name:cali*", False),
        ("zzz.conf", "# unmanaged-devices=interface-name:cali*", False),
    ],
)
def test_a_file_of_networkmanager_replaces_ours_if_it_is_read_later(
    alone, tmp_path, name, line, wins
):
    write(tmp_path, f"etc/NetworkManager/conf.d/{name}", f"[keyfile]\n{line}\n")
    expected = f"/etc/NetworkManager/conf.d/{name}" if wins else ""
    assert read_host([], tmp_path).nm_override == expected


@pytest.mark.parametrize(
    ("files", "drops"),
    [
        ({}, True),
        ({"etc/systemd/networkd.conf": "ManageForeignRoutes=no"}, False),
        (
            {
                "etc/systemd/networkd.conf.d/10-a.conf": "ManageForeignRoutes=no",
                "usr/lib/systemd/networkd.conf.d/20-b.conf": "ManageForeignRoutes = yes",
            },
            True,
        ),
        (
            {
                "usr/lib/systemd/networkd.conf.d/20-b.conf": "ManageForeignRoutes=yes",
                "etc/systemd/networkd.conf.d/20-b.conf": "ManageForeignRoutes=false",
            },
            False,
        ),
    ],
)
def test_networkd_drops_routes_of_others_unless_its_files_say_no(alone, tmp_path, files, drops):
    for name, line in files.items():
        write(tmp_path, name, f"[Network]\n{line}\n")
    assert read_host([], tmp_path).networkd is False
    write(tmp_path, "run/systemd/netif/links/1", "ADMIN_STATE=unmanaged\n")
    write(tmp_path, "run/systemd/netif/links/2", "ADMIN_STATE=configured\n")
    assert read_host([], tmp_path).networkd is drops


# -- NetworkManager -------------------------------------------------------------------------------


class FakeBus:
    """A connection to a NetworkManager that manages some of the interfaces it knows.

    managed
        For each interface whether it manages it; a connection's name and zone if one is active.
    """

    def __init__(self, managed):
        self.managed = managed

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        pass

    def send_and_get_reply(self, message, timeout):
        # jeepney numbers a message when it sends it.
        message.header.serial = 1
        member = message.header.fields[HeaderFields.member]
        if member == "NameHasOwner":
            return new_method_return(message, "b", (self.managed is not None,))
        if member == "GetDeviceByIpIface":
            if message.body[0] not in self.managed:
                return new_error(message, "org.freedesktop.NetworkManager.UnknownDevice")
            return new_method_return(message, "o", (f"/device/{encoded(message.body[0])}",))
        kind, name = message.header.fields[HeaderFields.path].split("/")[1:]
        known = self.managed[decoded(name)]
        if member == "GetSettings":
            assert kind == "settings"
            settings = {key: ("s", value) for key, value in known.items()}
            return new_method_return(message, "a{sa{sv}}", ({"connection": settings},))
        answer = {
            ("device", "Managed"): ("b", known is not False),
            ("device", "ActiveConnection"): ("o", f"/active/{name}" if known else "/"),
            ("active", "Connection"): ("o", f"/settings/{name}"),
        }[kind, message.body[1]]
        return new_method_return(message, "v", (answer,))


def encoded(name):
    return name.replace(".", "_")


def decoded(name):
    return name.replace("_", ".")


MANAGED = {
    "eth0": {"id": "Wired connection 1", "zone": "public"},
    "eth1": {"id": "second"},
    "cni0": {},
    "flannel.1": False,
}


def test_networkmanager_is_asked_which_of_the_interfaces_it_manages_and_with_what(monkeypatch):
    monkeypatch.setattr(network_manager, "open_system_bus", lambda: FakeBus(MANAGED))
    names = ("cni0", "eth0", "eth1", "flannel.1", "veth7")
    assert network_manager.read_connections(names) == {
        "cni0": NmConnection(),
        "eth0": NmConnection("Wired connection 1", "public"),
        "eth1": NmConnection("second", ""),
    }
    assert network_manager.managed_interfaces(names) == ("cni0", "eth0", "eth1")


def test_a_connection_that_goes_down_meanwhile_has_no_name(monkeypatch):
    class Vanishing(FakeBus):
        def send_and_get_reply(self, message, timeout):
            answer = super().send_and_get_reply(message, timeout)
            if message.header.fields[HeaderFields.member] == "GetSettings":
                return new_error(message, "org.freedesktop.DBus.Error.UnknownObject")
            return answer

    monkeypatch.setattr(network_manager, "open_system_bus", lambda: Vanishing(MANAGED))
    assert network_manager.read_connections(["eth0"]) == {"eth0": NmConnection()}


def test_a_frozen_networkmanager_is_waited_for_once(monkeypatch):
    asked = []

    class Frozen(FakeBus):
        def send_and_get_reply(self, message, timeout):
            if message.header.fields[HeaderFields.member] == "NameHasOwner":
                return super().send_and_get_reply(message, timeout)
            asked.append(message.body)
            raise TimeoutError

    monkeypatch.setattr(network_manager, "open_system_bus", lambda: Frozen(MANAGED))
    assert network_manager.read_connections(["cni0", "eth0", "eth1"]) == {}
    assert asked == [("cni0",)]


def test_a_networkmanager_that_does_not_run_manages_nothing(monkeypatch):
    monkeypatch.setattr(network_manager, "open_system_bus", lambda: FakeBus(None))
    assert network_manager.read_connections(("cni0",)) is None
    assert network_manager.managed_interfaces(("cni0",)) == ()

    def refuse():
        raise FileNotFoundError("no bus")

    monkeypatch.setattr(network_manager, "open_system_bus", refuse)
    assert network_manager.read_connections(("cni0",)) is None


# -- nft ------------------------------------------------------------------------------------------


class FakeNft:
    def __init__(self, output, error=b"", code=0):
        self.output, self.error, self.returncode = output, error, code

    def communicate(self, given, timeout):
        return self.output, self.error


def chain(name, **hook):
    return {"chain": {"family": "ip", "table": "filter", "name": name, "handle": 1, **hook}}


def test_base_chains_are_those_by_which_packets_enter(monkeypatch):
    hook = {"type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}
    listing = {"nftables": [{"metainfo": {}}, chain("FORWARD", **hook), chain("KUBE-FORWARD")]}
    monkeypatch.setattr(
        nft_command, "start_nft", lambda *words: FakeNft(json.dumps(listing).encode())
    )
    assert base_chains() == (BaseChain("ip filter", "FORWARD", "forward", "drop"),)


def test_an_nft_that_fails_is_no_empty_list(monkeypatch):
    failure = FakeNft(b"", b"Operation not permitted (you must be root)\n", 1)
    monkeypatch.setattr(nft_command, "start_nft", lambda *words: failure)
    with pytest.raises(FirewalldUnavailable, match=r"Operation not permitted.*Fix: run the minion"):
        base_chains()
