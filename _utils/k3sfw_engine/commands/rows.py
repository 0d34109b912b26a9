"""The command rows: the rows that apply to this node, and what on it serves each."""

from __future__ import annotations

from k3sfw_engine.checks.ports.services_of_node import served_by
from k3sfw_engine.host.node_services import read_node_services
from k3sfw_engine.host.overlay import read_overlay
from k3sfw_engine.model.listeners import has_listeners
from k3sfw_engine.model.node_services import NodeServices
from k3sfw_engine.model.rows import Role, Row, Tables


def list_rows(tables: Tables, role: Role, node: str) -> list[dict[str, str]]:
    """List the rows that open this node, as flat maps of texts.

    node
        This node's minion id.
    """
    rows = tables.rows_of(role)
    own = next(each for each in tables.nodes if each.name == node)
    services = read_node_services(own.addresses, rows, read_overlay())
    return [
        {
            "table": row.table,
            "name": row.name,
            "protocol": row.protocol.value,
            "port": ",".join(map(str, row.ports)),
            "source": ",".join(map(str, row.sources)),
            "destination": row.destination.value,
            "description": row.description,
            "served": _served(row, services),
        }
        for row in rows
    ]


def _served(row: Row, services: NodeServices) -> str:
    found = ", ".join(served_by(row, services))
    return found or ("nothing here" if has_listeners(row) else "")
