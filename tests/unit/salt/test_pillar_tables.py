"""The pillar of a role: the rows of both tables, with the site's changes."""

from __future__ import annotations

import json

import pytest
import salt.config
import salt.pillar
from salt._logging.impl import shutdown_temp_handler

from k3sfw_engine.port_tables.merge_pillar import merge_pillar
from k3sfw_engine.port_tables.read_pillar import parse_tables
from tests.paths import PILLAR
from tests.unit.samples import CLUSTER_TABLE, MANAGER_TABLE

NODES = {"s1": {"role": "server", "addresses": ["192.0.2.11"]}}


@pytest.fixture(autouse=True, scope="module")
def _no_deferred_log():
    """Keep Salt from writing its errors later to a stderr that pytest has closed."""
    shutdown_temp_handler()


@pytest.fixture
def rendered(tmp_path):
    """Return the pillar of a masterless minion with these grains and this site file."""

    def render(grains, site=None, **options):
        (tmp_path / "site/k3s").mkdir(parents=True, exist_ok=True)
        if site is not None:
            text = site if isinstance(site, str) else json.dumps({"k3s": site})
            (tmp_path / "site/k3s/site.sls").write_text(text)
        settings = {
            "root_dir": str(tmp_path),
            "id": "s1",
            "file_client": "local",
            "pillar_roots": {"base": [str(tmp_path / "site"), str(PILLAR)]},
            **options,
        }
        (tmp_path / "minion").write_text(json.dumps(settings))
        opts = salt.config.minion_config(str(tmp_path / "minion"))
        compiled = salt.pillar.get_pillar(opts, grains, "s1", "base").compile_pillar()
        return json.loads(json.dumps(compiled))

    return render


@pytest.fixture
def pillar_of(rendered):
    """Return the tree below k3s as the engine reads it, for a role."""
    return lambda role, site=None: merge_pillar(rendered({"k3s_role": role}, site))


def rows_of(table):
    columns = ("protocol", "port", "source", "destination", "description")
    return {tuple(row.get(column) for column in columns) for row in table.values()}


@pytest.mark.parametrize(("role", "other"), [("server", "agent"), ("agent", "server")])
def test_a_role_holds_exactly_its_rows_of_both_tables(role, other, pillar_of):
    def written(value):
        return value.lower() if isinstance(value, str) else value

    tables = pillar_of(role)["ports"]
    wireguard = tables["cluster"].pop("flannel_wireguard")
    assert (wireguard["protocol"], wireguard["port"]) == ("udp", [51820, 51821])
    assert wireguard["flannel_backend"] == "wireguard-native"
    assert tables["cluster"]["flannel_vxlan"]["flannel_backend"] == "vxlan"
    assert rows_of(tables["cluster"]) == {
        (*map(written, columns), description)
        for _, *columns, description in CLUSTER_TABLE
        if columns[-1].lower() != other
    }
    assert rows_of(tables["manager"]) == {
        (protocol.lower(), port, "clients", "any", description)
        for _, protocol, port, description in MANAGER_TABLE
    }


def test_rows_have_the_documented_names(pillar_of):
    ports = pillar_of("server")["ports"]
    assert " ".join(ports["cluster"]) == (
        "etcd supervisor flannel_vxlan flannel_wireguard kubelet spegel longhorn_api "
        "longhorn_agent pods services http https"
    )
    assert " ".join(ports["manager"]) == "https grafana kafka alertmanager prometheus redis"


# Where the rows stand below k3s, and where they stand among the defaults.
MASTERS = pytest.mark.parametrize("options", [{}, {"pillar_merge_lists": True}], ids=str)


@MASTERS
def test_an_agent_never_holds_etcd(options, rendered):
    tree = merge_pillar(rendered({"k3s_role": "agent"}, **options))
    # The promises of the whole cluster name etcd, and open nothing.
    assert tree.pop("tests")
    assert "2379" not in json.dumps(tree) and "etcd" not in json.dumps(tree).lower()


def test_the_rows_are_shown_below_k3s_where_salt_merges_in_its_default_way(rendered):
    shown = rendered({"k3s_role": "server"})
    assert "etcd" in shown["k3s"]["ports"]["cluster"] and "ports" not in shown["k3sfw_defaults"]
    apart = rendered({"k3s_role": "server"}, pillar_merge_lists=True)
    assert "k3s" not in apart and "etcd" in apart["k3sfw_defaults"]["ports"]["cluster"]
    assert merge_pillar(apart) == merge_pillar(shown)


@MASTERS
@pytest.mark.parametrize(("role", "other"), [("server", "agent"), ("agent", "server")])
def test_rows_of_the_other_role_only_come_on_request(role, other, options, rendered):
    own = {"protocol": "tcp", "port": 7000, "source": "admins", "destination": "Agent"}
    site = {"ports": {"cluster": {"own": own, "spegel": {"port": 5002}}}}
    asking = {"k3s_role": role, "k3sfw_asks_for_peer_ports": True}
    told = merge_pillar(rendered(asking, site, **options)).pop("peer_ports")
    held = merge_pillar(rendered({"k3s_role": other}, site, **options))["ports"]
    assert told == {
        table: {name: row for name, row in rows.items() if row["destination"].lower() == other}
        for table, rows in held.items()
    }
    names = {"server": {"etcd", "supervisor", "spegel"}, "agent": {"own"}}
    assert set(told["cluster"]) == names[other]


def test_a_minion_without_a_role_gets_nothing(rendered):
    assert rendered({}) == {}


def test_the_cluster_has_the_defaults_of_k3s_and_the_name_of_the_grain(rendered):
    pillar = merge_pillar(rendered({"k3s_role": "agent", "k3s_cluster": "east: #1"}))
    assert pillar["cluster"] == "east: #1"
    assert pillar["pod_cidrs"] == ["10.42.0.0/16"]
    assert pillar["service_cidrs"] == ["10.43.0.0/16"]
    assert pillar["flannel_backend"] == "vxlan"
    assert pillar["groups"] == {"clients": ["0.0.0.0/0", "::/0"]}
    assert pillar["schedule"] == {
        "enabled": True,
        "interval": 600,
        "splay": 60,
        "heal": 120,
        "check": 600,
    }


def test_a_site_changes_one_column_and_leaves_the_others(pillar_of):
    site = {"ports": {"cluster": {"http": {"enabled": False}, "supervisor": {"source": "admins"}}}}
    plain, changed = pillar_of("server"), pillar_of("server", site)
    expected = plain["ports"]["cluster"]
    expected["http"]["enabled"] = False
    expected["supervisor"]["source"] = "admins"
    assert changed == plain


def test_a_change_of_a_row_that_an_agent_does_not_hold_does_not_reach_it(pillar_of):
    site = {
        "ports": {
            "cluster": {
                "supervisor": {"source": "admins"},
                "etcd": {"enabled": False},
                "own": {"protocol": "tcp", "port": 7000, "source": "any", "destination": "Server"},
                "kubelet": {"destination": "server"},
            }
        }
    }
    rows = pillar_of("agent", site)["ports"]["cluster"]
    assert not {"supervisor", "etcd", "own", "kubelet"} & set(rows)
    assert {"supervisor", "etcd", "own", "kubelet"} <= set(
        pillar_of("server", site)["ports"]["cluster"]
    )


def test_a_site_adds_groups_replaces_lists_and_pins_nodes(pillar_of):
    site = {
        "groups": {"admins": ["198.51.100.0/28"], "clients": ["192.0.2.0/24"]},
        "pod_cidrs": ["10.42.0.0/16", "fd42::/56"],
        "nodes": NODES,
        "schedule": {"enabled": False},
    }
    pillar = pillar_of("server", site)
    assert pillar["groups"] == site["groups"]
    assert pillar["pod_cidrs"] == site["pod_cidrs"]
    assert pillar["nodes"] == NODES
    assert pillar["schedule"] == {
        "enabled": False,
        "interval": 600,
        "splay": 60,
        "heal": 120,
        "check": 600,
    }


def test_a_site_may_use_jinja_and_grains(pillar_of):
    site = "k3s: {groups: {admins: [{{ '192.0.2.1' if grains.k3s_role == 'agent' }}]}}"
    assert pillar_of("agent", site)["groups"]["admins"] == ["192.0.2.1"]


@pytest.mark.parametrize("role", ["server", "agent"])
def test_the_engine_reads_this_pillar_and_the_example_site(role, pillar_of):
    nodes = {"s1": {"role": role, "addresses": ["192.0.2.11"]}}
    parse_tables(pillar_of(role, {"nodes": nodes}), minion_id="s1", role=role)
    example = (PILLAR / "k3s/site.sls.example").read_text()
    pillar = pillar_of(role, example)
    assert pillar["ports"]["cluster"]["http"]["enabled"] is False
    parse_tables({**pillar, "nodes": nodes}, minion_id="s1", role=role)


@pytest.mark.parametrize(
    "ports", [None, [], "word", {"cluster": [1]}, {"cluster": {"etcd": 5}, "manager": None}]
)
def test_a_value_that_is_not_a_map_is_left_to_the_engine(ports, pillar_of):
    pillar = pillar_of("server", {"ports": ports})
    if not isinstance(ports, dict):
        assert pillar["ports"] == ports
    else:
        etcd = ports["cluster"]["etcd"] if isinstance(ports["cluster"], dict) else None
        assert etcd == 5 or pillar["ports"]["cluster"] == ports["cluster"]


@pytest.mark.parametrize("site", ["[1]", "k3s: {", "{{ nonsense() }}"])
def test_a_broken_site_file_is_an_error_and_not_an_empty_site(site, rendered):
    pillar = rendered({"k3s_role": "server"}, site)
    assert any("k3s.ports" in error for error in pillar["_errors"])
    assert not {"k3s", "k3sfw_defaults"} & set(pillar)


def test_a_masterless_minion_knows_only_the_pinned_nodes(pillar_of):
    assert "nodes" not in pillar_of("server")
    assert pillar_of("server", {"nodes": NODES})["nodes"] == NODES
