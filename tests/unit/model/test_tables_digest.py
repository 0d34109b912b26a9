"""The digest of tables: the same for nodes of both roles, another for anything that differs."""

from __future__ import annotations

from dataclasses import replace

from k3sfw_engine.model.rows import FlannelBackend
from k3sfw_engine.model.tables_digest import digest_of
from tests.unit.samples import parsed


def test_a_server_and_an_agent_of_one_cluster_have_the_same_digest():
    tables = parsed()
    of_agent = replace(tables, rows=tables.rows[3:], peer_rows=tables.rows[:3])
    assert digest_of(of_agent) == digest_of(tables)


def test_anything_that_differs_has_another_digest():
    tables = parsed()
    others = [
        replace(tables, cluster="other"),
        replace(tables, flannel_backend=FlannelBackend.HOST_GW),
        replace(tables, rows=tables.rows[1:]),
        replace(tables, rows=(replace(tables.rows[0], ports=()), *tables.rows[1:])),
        replace(tables, rows=(replace(tables.rows[0], sources=()), *tables.rows[1:])),
        replace(tables, groups={}),
        replace(tables, pod_cidrs=()),
        replace(tables, nodes=tables.nodes[:1]),
    ]
    assert len({digest_of(each) for each in [tables, *others]}) == len(others) + 1
