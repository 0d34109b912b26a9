"""The function tables: role by role, which sources get in at which ports, by the tables."""

from __future__ import annotations

from k3sfw_engine.cluster_pillar.cluster_tables import ClusterTables
from k3sfw_engine.fleet.answers import CheckedCluster
from k3sfw_engine.fleet.redirected_ports import redirected_ports
from k3sfw_engine.fleet.returned import Returned
from k3sfw_engine.fleet.role_matrix import role_matrix


def tables(found: ClusterTables, saved: CheckedCluster | None = None) -> Returned:
    """Return the matrix of the cluster's tables; saved answers tell which ports are redirected."""
    redirected = redirected_ports(saved) if saved else ()
    return Returned(
        {
            "view": "tables",
            "summary": found.summary,
            "matrix": role_matrix(found.tables, redirected).as_plain(),
            "notes": list(found.notes),
        }
    )
