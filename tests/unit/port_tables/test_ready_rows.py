"""Each block of the page of rows for add-ons is a good site file over the default tables."""

from __future__ import annotations

import re

import pytest
import salt.utils.dictupdate
import yaml

from k3sfw_engine.model.rows import Role
from k3sfw_engine.plan.desired.compute import compute_desired
from k3sfw_engine.port_tables.read_pillar import parse_tables
from tests.paths import PILLAR, ROOT

PAGE = (ROOT / "docs/rows.md").read_text()
NODES = {
    "s1": {"role": "server", "addresses": ["192.0.2.11", "2001:db8::11"]},
    "a1": {"role": "agent", "addresses": ["192.0.2.21", "2001:db8::21"]},
}


def blocks():
    """The blocks of the page, each with what stands above it."""
    _above, *sections = re.split(r"^#+ (.*)$", PAGE, flags=re.MULTILINE)
    for heading, section in zip(sections[::2], sections[1::2]):
        text, _start, block = section.partition("```yaml\n")
        if block:
            yield pytest.param(text, block.partition("```")[0], id=heading)


BLOCKS = tuple(blocks())


def tables(site, role="server"):
    """The default tables with a site's values over them, as the pillar merges both."""
    ports = {
        name: yaml.safe_load((PILLAR / f"k3s/tables/{name}.yaml").read_text())
        for name in ("cluster", "manager")
    }
    pillar = {"ports": ports, "nodes": NODES}
    pillar = salt.utils.dictupdate.update(pillar, site["k3s"], merge_lists=False)
    return parse_tables(pillar, minion_id=f"{role[0]}1", role=role)


def test_no_block_is_overlooked():
    assert len(BLOCKS) == PAGE.count("```yaml") > 15


@pytest.mark.parametrize(("text", "block"), BLOCKS)
def test_a_block_names_its_source_and_each_of_its_rows_makes_rules(text, block):
    assert "<https://" in text
    site = yaml.safe_load(block)
    for role in ("server", "agent"):
        read = tables(site, role)
        ruled = {each.row.path for each in compute_desired(read, Role(role)).rules}
        meant = {
            row.path
            for row in read.rows_of(Role(role))
            if row.name in site["k3s"]["ports"].get(row.table, {})
        }
        assert meant <= ruled
    given = {
        f"k3s:ports:{table}:{name}"
        for table, rows in site["k3s"]["ports"].items()
        for name, columns in rows.items()
        if columns.get("enabled", True)
    }
    assert given <= {row.path for row in read.rows}


def test_the_rows_that_the_example_site_comments_out_are_good():
    example = (PILLAR / "k3s/site.sls.example").read_text()
    lines = re.findall(r"^      # ([a-z_]+: \{protocol.*)$", example, re.MULTILINE)
    rows = {name: row for line in lines for name, row in yaml.safe_load(line).items()}
    read = {row.name for row in tables({"k3s": {"ports": {"manager": rows}}}).rows}
    assert {"node_exporter", "memberlist_tcp", "memberlist_udp", "vrrp"} <= read
