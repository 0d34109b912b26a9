"""With IPVS the rows decide about NodePorts, so a port that no row names is said with the row."""

from __future__ import annotations

import netaddr
import pytest
import yaml

from k3sfw_engine.checks.verdicts import Status
from k3sfw_engine.checks.zones.needed_by_ipvs import judge_ipvs
from k3sfw_engine.checks.zones.zone_facts import ZoneFacts
from k3sfw_engine.model.ipvs import NO_IPVS, IpvsFacts, VirtualService
from k3sfw_engine.model.rows import PortRange, Protocol
from tests.unit.checks.zones.test_zone_check import facts, situation
from tests.unit.samples import changed, parsed

LINE = "write into site.sls on the master: "


def service(address, port, protocol=Protocol.TCP):
    return VirtualService(protocol, netaddr.IPAddress(address), port)


def judged(*services, used=True, **changed_pillar):
    ipvs = IpvsFacts(used, tuple(services))
    return list(judge_ipvs(ZoneFacts(situation(**changed_pillar), facts(ipvs=ipvs))))


def test_a_node_without_ipvs_gets_no_verdict():
    assert list(judge_ipvs(ZoneFacts(situation(), facts(ipvs=NO_IPVS)))) == []
    assert judged() == []


def test_services_that_cannot_be_listed_are_unproven():
    (check,) = judge_ipvs(ZoneFacts(situation(), facts(ipvs=IpvsFacts(True, None))))
    assert check.status is Status.UNPROVEN


def test_addresses_of_services_and_pods_are_nothing_for_clients():
    assert judged(service("10.43.0.10", 53), service("127.0.0.1", 30080)) == []


@pytest.mark.parametrize("address", ["192.0.2.11", "2001:db8::11", "198.51.100.7"])
def test_a_port_that_no_row_names_is_closed_and_the_line_opens_it(address):
    (check,) = judged(service(address, 30080), service(address, 30443), service(address, 443))
    assert check.status is Status.CONFLICT
    assert "30080, 30443/tcp" in check.evidence
    assert check.fix.startswith(LINE)
    (columns,) = yaml.safe_load(check.fix[len(LINE) :])["k3s"]["ports"]["manager"].values()
    tree = changed("ports:manager:ipvs_tcp", columns)
    (row,) = (each for each in parsed(tree).rows if each.name == "ipvs_tcp")
    assert row.ports == (PortRange(30080, 30080), PortRange(30443, 30443))
    ports = situation(ports=tree["ports"])
    ipvs = IpvsFacts(True, (service(address, 30080), service(address, 30443)))
    (after,) = judge_ipvs(ZoneFacts(ports, facts(ipvs=ipvs)))
    assert after.status is Status.OK


def test_each_protocol_gets_its_own_row():
    found = judged(service("192.0.2.11", 30053), service("192.0.2.11", 30053, Protocol.UDP))
    assert ["ipvs_tcp" in found[0].fix, "ipvs_udp" in found[1].fix] == [True, True]


def test_a_thousand_services_make_one_readable_verdict():
    (check,) = judged(*(service("192.0.2.11", 30000 + port) for port in range(1000)))
    assert len(check.evidence) < 300
    assert yaml.safe_load(check.fix[len(LINE) :])["k3s"]["ports"]["manager"]["ipvs_tcp"][
        "port"
    ] == ["30000-30999"]
