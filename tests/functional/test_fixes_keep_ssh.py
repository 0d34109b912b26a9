"""A fix that moves packets to another zone keeps ssh open, also on another port than 22."""

import sys
from contextlib import contextmanager

import pytest

from lab.wait import wait_until
from tests.functional.hosts import Node, standing
from tests.functional.test_zones_of_others import TABLES
from tests.typed_fixes import commands_of

pytestmark = pytest.mark.functional

PORT = 2222
# A process is an ssh server by its name.
SERVER = f"""
import socket, sys
open("/proc/self/comm", "w").write("sshd")
listener = socket.create_server(("", {PORT}))
print(flush=True)
while True:
    listener.accept()[0].close()
"""
CONNECT = f"import socket; socket.create_connection(('192.0.2.11', {PORT}), 2)"


@pytest.fixture(scope="module")
def host():
    with standing("keptssh") as raised:
        node = Node(raised.host("s1"))
        node.outsider = raised.host("out")
        node.call("apply", TABLES)
        with ssh_server(node.host):
            yield node


@contextmanager
def ssh_server(host):
    process = host.popen([sys.executable, "-c", SERVER])
    try:
        wait_until(
            lambda: f":{PORT}" in host.run(["ss", "-ltn"]).stdout, "no ssh server", timeout=10
        )
        yield
    finally:
        process.terminate()
        process.wait(10)


def ssh_is_open(host):
    asked = [sys.executable, "-c", CONNECT]
    return host.outsider.run(asked, check=False).returncode == 0


def type_fixes(host, status):
    """Type every fix of check_zones for this status."""
    problems = [
        each
        for each in host.call("check_zones", TABLES, masters=["192.0.2.10"])["problems"]
        if each.startswith(status)
    ]
    assert problems
    for problem in problems:
        for _node, function, command in commands_of(problem):
            assert function == "cmd.run"
            host.run("sh", "-ec", command)


def test_an_uplink_that_leaves_an_open_zone_is_still_reached_by_ssh(host):
    for layer in ([], ["--permanent"]):
        host.firewall_cmd(*layer, "--zone=trusted", "--change-interface=eth0")
    try:
        assert ssh_is_open(host)
        type_fixes(host, "exposed zone -> s1: eth0 is in zone trusted")
        assert host.firewall_cmd("--get-zone-of-interface=eth0") == "public"
        assert ssh_is_open(host)
        host.firewall_cmd("--reload")
        assert ssh_is_open(host)
    finally:
        for layer in ([], ["--permanent"]):
            host.firewall_cmd(*layer, "--zone=public", "--remove-interface=eth0")
            host.firewall_cmd(*layer, "--zone=public", f"--remove-port={PORT}/tcp")
    assert not ssh_is_open(host)


def test_a_source_that_leaves_its_zone_is_still_reached_by_ssh_and_others_are_not(host):
    for layer in ([], ["--permanent"]):
        host.firewall_cmd(*layer, "--zone=trusted", "--add-source=192.0.2.0/25")
    try:
        assert ssh_is_open(host)
        type_fixes(host, "exposed sources -> s1: source 192.0.2.0/25 of zone trusted")
        assert ssh_is_open(host)
        assert f"{PORT}" not in host.firewall_cmd("--zone=public", "--list-ports")
    finally:
        rule = f"rule family=ipv4 source address=192.0.2.0/25 port port={PORT} protocol=tcp accept"
        for layer in ([], ["--permanent"]):
            host.firewall_cmd(*layer, "--zone=public", f"--remove-rich-rule={rule}")
    assert not ssh_is_open(host)
