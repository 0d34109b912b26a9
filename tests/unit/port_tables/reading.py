"""Helpers: what a pillar is refused for, and single rows of it."""

from __future__ import annotations

import pytest

from k3sfw_engine.errors import BadTables
from k3sfw_engine.port_tables.read_pillar import parse_tables
from tests.unit.samples import (
    parsed,
)

PORT = "k3s:ports:cluster:etcd:port"
SOURCE = "k3s:ports:cluster:etcd:source"
CLIENTS = "k3s:groups:clients"
NESTED = [[[["deep"]]]]
# Texts that would break out of a rule or a command, if any were pasted into one.
QUOTES = [
    '"',
    '" accept rule family="ipv4',
    "server' accept",
    'x" port port="22" protocol="tcp" accept\nrule family="ipv4" accept',
    "</rule><rule/>",
    "$(reboot)",
    "`reboot`",
    "; reboot",
    "server\0",
    "{{ pillar }}",
    "\u202e",
    "\ud800",
]


def faults(tree, role="server", minion_id="s1"):
    """``{path: problem}`` of a pillar that is refused."""
    with pytest.raises(BadTables) as refused:
        parse_tables(tree, minion_id=minion_id, role=role)
    assert refused.value.sentences == tuple(map(str, refused.value.faults))
    return {fault.path: fault.problem for fault in refused.value.faults}


def found(tree, name, table="cluster"):
    """One row of a pillar that is good."""
    return next(row for row in parsed(tree).rows if (row.table, row.name) == (table, name))


# -- good tables ----------------------------------------------------------------------------------
