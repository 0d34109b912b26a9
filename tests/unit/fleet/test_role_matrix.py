"""The matrix of roles says of every source what single packets would find."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from k3sfw_engine.checks.verdicts import Status
from k3sfw_engine.fleet.answers import NodeProblem
from k3sfw_engine.fleet.redirected_ports import redirected_ports
from k3sfw_engine.fleet.role_matrix import ANYONE_ELSE, Access, RedirectedPort, role_matrix
from k3sfw_engine.fleet.text.render import render
from k3sfw_engine.fleet.text.style import Style
from k3sfw_engine.model.addresses import FAMILIES
from k3sfw_engine.model.names_of_addresses import AddressNames
from k3sfw_engine.model.row_sources import networks_of_source
from k3sfw_engine.model.rows import PortRange, Protocol, Role, Tables
from tests.simulated_fleet import simulated_fleet
from tests.unit.samples import changed, parsed, pillar, pillars


def access(tables: Tables, source: str, role: str, protocol: str, ports: str) -> Access:
    matrix = role_matrix(tables)
    (line,) = [
        line
        for line in matrix.lines
        if line.role is Role(role)
        and line.protocol.value == protocol
        and str(line.ports or "") == ports
    ]
    return line.access[matrix.sources.index(source)]


@pytest.mark.parametrize(
    ("source", "role", "protocol", "ports", "expected"),
    [
        ("server", "server", "tcp", "2379-2380", Access.OPEN),
        ("agent", "server", "tcp", "2379-2380", Access.CLOSED),
        ("agent", "server", "tcp", "6443", Access.OPEN),
        (ANYONE_ELSE, "agent", "udp", "8472", Access.CLOSED),
        (ANYONE_ELSE, "agent", "tcp", "3000", Access.OPEN),
        ("pods", "agent", "tcp", "10250", Access.OPEN),
        ("pods", "agent", "any", "", Access.OPEN),
        ("admins", "agent", "any", "", Access.CLOSED),
    ],
)
def test_the_document_s_tables_let_in_as_the_document_says(source, role, protocol, ports, expected):
    assert access(parsed(), source, role, protocol, ports) is expected


def test_a_part_of_the_addresses_and_a_part_of_the_ports_are_a_part():
    row = {"protocol": "tcp", "port": "8000-8010", "source": "198.51.100.0/29"}
    tables = parsed(changed("ports:cluster:extra", {**row, "destination": "any"}))
    assert access(tables, "admins", "agent", "tcp", "8000-8010") is Access.PART
    tree = changed("ports:cluster:extra", {**row, "source": "admins", "destination": "agent"})
    wider = {"protocol": "tcp", "port": "8000-8020", "source": "agent", "destination": "agent"}
    tables = parsed(changed("ports:cluster:wider", wider, tree))
    assert access(tables, "admins", "agent", "tcp", "8000-8020") is Access.PART
    assert access(tables, "admins", "agent", "tcp", "8000-8010") is Access.OPEN


def test_a_redirected_port_is_neither_open_nor_closed():
    matrix = role_matrix(parsed(), [RedirectedPort(Role.AGENT, Protocol.TCP, PortRange(443, 443))])
    by_line = {(line.role, str(line.ports)): set(line.access) for line in matrix.lines}
    assert by_line[Role.AGENT, "443"] == {Access.REDIRECTED}
    assert Access.REDIRECTED not in by_line[Role.SERVER, "443"]


@given(pillars())
def test_the_matrix_is_what_the_rows_say_address_by_address_at_the_edges_of_every_source(tree):
    tables = parsed(tree)
    matrix = role_matrix(tables)
    names = AddressNames(tables)
    for line in matrix.lines:
        for source, found in zip(matrix.sources, line.access):
            sets = names.outsiders if source == ANYONE_ELSE else names.sets[source]
            asked = {
                lets_in(tables, line, edge, port)
                for family in FAMILIES
                if family in line.protocol.families
                for span in sets[family].ranges
                for edge in ((family, span[0]), (family, span[1]))
                for port in ((line.ports.low, line.ports.high) if line.ports else (None,))
            }
            # Edges can miss what lies between them: all of one kind is then only a necessary sign.
            if found is Access.OPEN:
                assert asked == {True}, (line, source)
            if found is Access.CLOSED:
                assert asked <= {False}, (line, source)
            if len(asked) == 2:
                assert found is Access.PART, (line, source)


def lets_in(tables, line, address, port):
    family, value = address
    return any(
        network.version == family and network.first <= value <= network.last
        for row in tables.every_row
        if row.destination.includes(line.role)
        and row.protocol in (line.protocol, Protocol.ANY)
        and family in row.protocol.families
        and (not row.ports or any(port in ports for ports in row.ports))
        for source in row.sources
        for network in networks_of_source(source, tables)
    )


def test_the_text_fits_into_80_columns_with_many_groups():
    tree = changed("groups", {f"group-{number}": ["192.0.2.99"] for number in range(12)})
    for row in tree["ports"]["manager"].values():
        row["source"] = "any"
    data = {"view": "tables", "summary": "", "notes": []}
    text = render({**data, "matrix": role_matrix(parsed(tree)).as_plain()}, Style())
    assert max(map(len, text.splitlines())) <= 80
    assert all(f"group-{number}" in text for number in range(12))


def test_a_row_for_every_port_is_labelled_by_what_other_rows_leave_to_it():
    data = {"view": "tables", "summary": "", "notes": []}
    text = render({**data, "matrix": role_matrix(parsed()).as_plain()}, Style())
    assert "\nall other ports" in text and "\nany" not in text
    rows = {name: pillar()["ports"]["cluster"][name] for name in ("pods", "services")}
    alone = parsed(changed("ports", {"cluster": rows, "manager": {}}))
    text = render({**data, "matrix": role_matrix(alone).as_plain()}, Style())
    assert "\nall ports" in text and "all other ports" not in text


def test_ports_that_nodes_report_as_redirected_are_read_from_their_answers():
    cluster = simulated_fleet(5)
    conflict = NodeProblem(
        source="clients",
        to="a1",
        description="HTTPS",
        status=Status.CONFLICT,
        evidence="",
        protocol="tcp",
        port="443",
    )
    others = [
        replace(conflict, status=Status.EXPOSED, port="80"),
        replace(conflict, protocol="", port=""),
        replace(conflict, port="text"),
        replace(conflict, protocol="carrier pigeon"),
    ]
    answer = cluster.answers["a1"]
    zones = replace(answer.parts["zones"], problems=(conflict, *others))
    answers = {**cluster.answers, "a1": replace(answer, parts={**answer.parts, "zones": zones})}
    found = redirected_ports(replace(cluster, answers=answers))
    assert found == (RedirectedPort(Role.AGENT, Protocol.TCP, PortRange(443, 443)),)
