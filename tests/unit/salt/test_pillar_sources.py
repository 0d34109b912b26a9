"""The site's values replace defaults and claims, whatever the master's options, and wherever in
pillar they come from."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess

import pytest
import salt.loader
from salt._logging.impl import shutdown_temp_handler
from salt.utils import dictupdate

from k3sfw_engine.model.rows import FlannelBackend
from k3sfw_engine.port_tables.read_pillar import parse_tables
from tests.paths import PILLAR
from tests.unit.salt.pillar_master import Master, claims

OPTIONS = {
    "the defaults of Salt": {},
    "lists add up": {"pillar_merge_lists": True},
    **{
        strategy: {"pillar_source_merging_strategy": strategy}
        for strategy in ("smart", "recurse", "aggregate", "overwrite", "none")
    },
    "overwrite, lists add up": {
        "pillar_source_merging_strategy": "overwrite",
        "pillar_merge_lists": True,
    },
    "aggregate by the renderer": {"renderer": "jinja|yamlex"},
    "external pillar first": {"ext_pillar_first": True},
}
DECISIVE = ("the defaults of Salt", "lists add up", "aggregate", "overwrite")
SITE = {
    "groups": {"clients": ["192.0.2.0/28"]},
    "nodes": {"a1": {"addresses": ["192.0.2.21"]}},
    "pod_cidrs": ["10.244.0.0/16"],
    "flannel_backend": "wireguard-native",
    "schedule": {"interval": 300},
    "ports": {"cluster": {"http": {"enabled": False}}, "manager": {"kafka": {"enabled": False}}},
}
# Of a file that the top file lists before k3s.ports, Salt itself lets the rows win by default.
COLUMNS = {
    "ports": {
        "cluster": {"flannel_wireguard": {"port": [51825, 51826]}},
        "manager": {"redis": {"source": ["clients", "192.0.2.99"]}},
    }
}
OWN_TOP = """
base:
  '*':
    {before}
  'k3s_role:*':
    - match: grain
    - k3s.nodes
    - k3s.ports
  'not nothing':
    - match: compound
    {after}
"""


@pytest.fixture(autouse=True, scope="module")
def _no_deferred_log():
    """Keep Salt from writing its warnings later to a stderr that pytest has closed."""
    shutdown_temp_handler()


def in_site_file(folder, site):
    (folder / "site/k3s/site.sls").write_text(site)
    return {}


def in_a_file_before_ours(folder, site):
    return _own_file(folder, site, before="- own", after="- nothing")


def in_a_file_after_ours(folder, site):
    return _own_file(folder, site, before="- nothing", after="- own")


def _own_file(folder, site, **order):
    (folder / "site/nothing.sls").write_text("{}")
    (folder / "site/own.sls").write_text(site)
    (folder / "site/top.sls").write_text(OWN_TOP.format(**order))
    return {}


def in_an_external_pillar(folder, site):
    (folder / "ext.yaml").write_text(site)
    return {"ext_pillar": [{"cmd_yaml": f"cat {folder / 'ext.yaml'}"}]}


def in_a_file_beside_an_external_pillar(folder, site):
    return {**in_a_file_before_ours(folder, site), "ext_pillar": [{"cmd_yaml": "echo '{}'"}]}


def in_another_environment(folder, site):
    _environment(folder / "prod", "prod", site)
    base = [str(folder / "site"), str(PILLAR)]
    return {"pillar_roots": {"base": base, "prod": [str(folder / "prod")]}}


def in_an_environment_before_ours(folder, site):
    # Salt begins with base.
    _environment(folder / "site", "base", site)
    shutil.copytree(PILLAR, folder / "ours")
    top = folder / "ours/top.sls"
    top.write_text(top.read_text().replace("base:", "prod:"))
    return {"pillar_roots": {"base": [str(folder / "site")], "prod": [str(folder / "ours")]}}


def _environment(folder, name, site):
    folder.mkdir(exist_ok=True)
    (folder / "own.sls").write_text(site)
    (folder / "top.sls").write_text(f"{name}: {{'*': [own]}}")


ALWAYS = [
    in_site_file,
    in_a_file_after_ours,
    in_an_external_pillar,
    in_a_file_beside_an_external_pillar,
    in_another_environment,
    in_an_environment_before_ours,
]


def rows_of(tables):
    return {(row.table, row.name): row for row in tables.rows}


def each_way(ways):
    """Every way on a master with each of the options."""
    for way, (name, options) in itertools.product(ways, OPTIONS.items()):
        # Salt then compiles one environment alone.
        if name != "none" or "environment" not in way.__name__:
            marks = [] if name in DECISIVE else [pytest.mark.exhaustive]
            yield pytest.param(way, options, id=f"{way.__name__}, {name}", marks=marks)


@pytest.fixture
def tables_of(tmp_path):
    """Return the tables of s1 by a master with these options, with the site's values in a way."""

    def compile_tables(options, way, site):
        given = way(tmp_path, json.dumps({"k3s": site}))
        master = Master(tmp_path, **{**given, "git_pillar_base": "main", **options})
        if "git" in str(given.get("ext_pillar")):
            salt.loader.runner(master.opts)["git_pillar.update"]()
        master.hear("a1", claims("agent", "192.0.2.66", "192.0.2.67"))
        master.accept("s1")
        return parse_tables(master.tree(), minion_id="s1", role="server")

    (tmp_path / "site/k3s").mkdir(parents=True)
    return compile_tables


@pytest.mark.parametrize(("way", "options"), list(each_way([*ALWAYS, in_a_file_before_ours])))
def test_settings_pins_and_disabled_rows_of_the_site_win(options, way, tables_of):
    tables = tables_of(options, way, SITE)
    assert_settings_and_pins(tables)
    rows = rows_of(tables)
    assert ("cluster", "http") not in rows and ("manager", "kafka") not in rows
    assert {("cluster", "etcd"), ("manager", "redis"), ("manager", "grafana")} <= set(rows)


def assert_settings_and_pins(tables):
    assert list(map(str, tables.groups["clients"])) == ["192.0.2.0/28"]
    assert list(map(str, tables.pod_cidrs)) == ["10.244.0.0/16"]
    assert list(map(str, tables.service_cidrs)) == ["10.43.0.0/16"]
    assert tables.flannel_backend is FlannelBackend.WIREGUARD
    assert {node.name: list(map(str, node.addresses)) for node in tables.nodes} == {
        "a1": ["192.0.2.21"],
        "s1": ["192.0.2.11"],
    }
    rows = rows_of(tables)
    assert ("cluster", "http") not in rows and ("manager", "kafka") not in rows
    assert {("cluster", "etcd"), ("cluster", "flannel_wireguard"), ("manager", "redis")} <= set(
        rows
    )


@pytest.mark.parametrize(("way", "options"), list(each_way(ALWAYS)))
def test_a_column_that_the_site_changes_wins(options, way, tables_of):
    rows = rows_of(tables_of(options, way, {**COLUMNS, "flannel_backend": "wireguard-native"}))
    wireguard, redis = rows["cluster", "flannel_wireguard"], rows["manager", "redis"]
    assert [str(port) for port in wireguard.ports] == ["51825", "51826"]
    assert list(map(str, redis.sources)) == ["192.0.2.99/32", "clients"]
    assert [str(port) for port in redis.ports] == ["6379"]


# -- pillar from git ------------------------------------------------------------------------------


def committed(folder):
    """Make a git repository of this folder; its address."""
    for command in (
        ("init", "--quiet", "--initial-branch=main"),
        ("add", "--all"),
        ("-c", "user.name=k3sfw", "-c", "user.email=k3sfw@example.com", "commit", "-qm", "Pillar"),
    ):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return f"file://{folder}"


def all_from_git(folder, site):
    """As docs/gitfs.md has it."""
    ours = shutil.copytree(PILLAR, folder / "repository/pillar").parent
    (folder / "values/k3s").mkdir(parents=True)
    (folder / "values/k3s/site.sls").write_text(site)
    (folder / "values/top.sls").write_text("base: {}")
    first = {f"main {committed(ours)}": [{"name": "ours"}, {"root": "pillar"}, {"env": "base"}]}
    second = {f"main {committed(folder / 'values')}": [{"name": "values"}, {"env": "base"}]}
    roots = {"base": [str(folder / "site")]}
    return {"pillar_roots": roots, "ext_pillar": [{"git": [first, second]}]}


def the_site_from_git(folder, site):
    _environment(folder / "values", "base", site)
    return {"ext_pillar": [{"git": [f"main {committed(folder / 'values')}"]}]}


def ours_from_git(folder, site):
    _environment(folder / "site", "base", site)
    ours = shutil.copytree(PILLAR, folder / "repository/pillar").parent
    remote = {f"main {committed(ours)}": [{"root": "pillar"}, {"env": "base"}]}
    roots = {"base": [str(folder / "site")]}
    return {"pillar_roots": roots, "ext_pillar": [{"git": [remote]}]}


FROM_GIT = [all_from_git, the_site_from_git, ours_from_git]


@pytest.mark.parametrize(("way", "options"), list(each_way(FROM_GIT)))
def test_the_site_wins_in_pillar_from_git(way, options, tables_of):
    pytest.importorskip("git", reason="Salt reads git pillar with GitPython")
    tables = tables_of(options, way, dictupdate.merge_recurse(SITE, COLUMNS))
    assert_settings_and_pins(tables)
    rows = rows_of(tables)
    assert ("cluster", "http") not in rows and ("manager", "kafka") not in rows
    assert [str(port) for port in rows["cluster", "flannel_wireguard"].ports] == ["51825", "51826"]
    assert list(map(str, rows["manager", "redis"].sources)) == ["192.0.2.99/32", "clients"]
