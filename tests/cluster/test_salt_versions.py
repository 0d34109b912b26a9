"""Each supported release of Salt, real master and minions: the packages arrive, over a flat engine.

0.1.0 was the last version whose engine was one flat folder.
"""

import os

import pytest

from tests.cluster import other_salt, salt_site
from tests.cluster.salt_site import synced

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.exhaustive,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

RELEASES = ("3006", "3007", "3008")


@pytest.fixture(scope="module", params=RELEASES)
def release(request):
    return request.param


@pytest.fixture(scope="module")
def site(release):
    with salt_site.standing(f"salt{release}", other_salt.programs(release)) as site:
        yield site


@pytest.fixture(scope="module")
def upgraded(site):
    """The nodes after an upgrade from 0.1.0, whose rules they have; the new files, as Salt told."""
    site.check_out("0.1.0")
    site.sync()
    for applied in site.states("*", "state.single", "k3sfw.managed", "name=old").values():
        assert applied["result"] is True, applied
    before = synced(site.host("s1"))
    site.check_out()
    return site, before, site.sync()


def test_master_and_minions_run_this_release(site, release):
    versions = site.salt_run("manage.versions")
    assert list(versions["Up to date"]) == ["a1", "s1"]
    assert versions["Master"].partition(".")[0] == release


def test_a_sync_brings_every_file_of_every_package_and_takes_the_flat_ones_away(upgraded):
    site, before, told = upgraded
    served = salt_site.served(site)
    new = [path for path in served if path.startswith("utils/") and path not in before]
    for host in site.nodes:
        assert synced(host) == served
        assert {path[: -len(".py")].replace("/", ".") for path in new} <= set(
            told[host.name]["utils"]
        )


def test_the_rules_of_the_old_version_are_taken_over_hold_and_go(upgraded):
    site = upgraded[0]
    assert site.salt("*", "k3sfw.role") == {"s1": "server", "a1": "agent"}
    for nodes in site.salt("*", "k3sfw.nodes").values():
        assert {name: (node["role"], node["addresses"]) for name, node in nodes.items()} == {
            "s1": ("server", ["192.0.2.11", "2001:db8::11"]),
            "a1": ("agent", ["192.0.2.21", "2001:db8::21"]),
        }
    for applied, result in ((site.apply("*", "test=True"), None), (site.apply(), True)):
        found = [(each["result"], each["changes"]) for each in applied.values()]
        assert found == [(result, salt_site.NEW_TARGET)] * 2
    assert [each["changes"] for each in site.apply().values()] == [{}, {}]
    for report in site.salt("*", "k3sfw.check_ports").values():
        assert report["status"] in ("OK", "WARN"), report


def test_a_first_apply_does_what_its_dry_run_told_and_the_next_changes_nothing(upgraded):
    site = upgraded[0]
    removed = site.states("*", "state.apply", "k3s.remove")
    assert [each["result"] for each in removed.values()] == [True, True], removed
    for host in site.nodes:
        assert "k3s" not in host.run(["nft", "list", "ruleset"]).stdout
    foretold, first, again = site.apply("*", "test=True"), site.apply(), site.apply()
    assert [each["result"] for each in foretold.values()] == [None, None], foretold
    assert [each["result"] for each in first.values()] == [True, True], first
    for name, each in first.items():
        assert each["changes"] == foretold[name]["changes"] != {}
        assert (again[name]["result"], again[name]["changes"]) == (True, {})
