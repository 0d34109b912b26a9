"""With systemd: the unit of newer releases is active before firewalld answers."""

import pytest

from lab.booted.booted_host import BootedHost
from tests.functional.transactions import TransactionNode

# As of 2.3.4, 2.4.3 and 2.5: systemd does not wait for the name on the bus.
DROP_IN = "/etc/systemd/system/firewalld.service.d/simple.conf"


@pytest.fixture
def node():
    with BootedHost() as machine:
        machine.boot()
        host = TransactionNode(machine)
        host.firewall_cmd("--state")
        machine.path(DROP_IN).parent.mkdir()
        machine.path(DROP_IN).write_text("[Service]\nType=simple\nBusName=\n")
        host.run("systemctl", "daemon-reload")
        yield host


def test_an_apply_waits_for_a_firewalld_that_has_just_been_started(node, pillar):
    node.run("systemctl", "restart", "firewalld")
    assert node.call("apply", pillar)["changes"]


def test_a_stopped_firewalld_is_reported_at_once(node, pillar):
    node.run("systemctl", "stop", "firewalld")
    assert "firewalld is not running" in str(node.try_call("apply", pillar)["refused"])
