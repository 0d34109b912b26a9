"""A new version of k3sfw on a cluster that works: packets go on, and others stay out.

Each test begins with nodes that another version has made, and watches new connections while the
operator does what docs/upgrading.md says.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from k3sfw_engine import __version__
from lab.spec import HostSpec
from tests.cluster import salt_site
from tests.cluster.salt_views import kernel, not_ours
from tests.compatibility.next_version import NEXT, next_version, with_a_row_more, with_other_objects
from tests.compatibility.watched_packets import Way, watched

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.exhaustive,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

OUTSIDER = HostSpec("out", "plain", 99, firewalld=False)
WAYS = (
    Way("a1", "s1", 6443, is_open=True),
    Way("a1", "s1", 10250, is_open=True),
    Way("s1", "a1", 10250, is_open=True),
    Way("out", "s1", 6379, is_open=True),
    Way("out", "a1", 3000, is_open=True),
    Way("a1", "s1", 2379, is_open=False),
    Way("out", "s1", 2379, is_open=False),
    Way("out", "a1", 10250, is_open=False),
    Way("out", "a1", 7001, is_open=False),
)
# The matrix runs these tests alone. Beside others, a packet is sent again because hosts are slow.
ALONE = bool(os.environ.get("K3SFW_ALL_UPGRADES"))
# The others show the same in fewer steps, and CI has little time.
only_in_the_matrix = pytest.mark.skipif(not ALONE, reason="make matrix runs it")
# Both nodes are reloaded at the same time, each for less than a second.
MOMENT = 5
EXPORTER = {"protocol": "tcp", "port": 9100, "source": "any", "destination": "any"}
RELEASES = (pytest.param("0.1.0", marks=only_in_the_matrix), salt_site.LAST_RELEASE)


@pytest.fixture(scope="module")
def site():
    programs = Path(sys.executable).parent
    with salt_site.standing("product", programs, others=(OUTSIDER,)) as site:
        yield site


def begin_with(site, release=None, change=None):
    """Put the nodes into the state in which this version leaves them."""
    (site.lab.srv / "pillar/k3s/site.sls").unlink(missing_ok=True)
    for host in site.nodes:
        host.run(["rm", "-rf", "/var/lib/k3sfw"])
    site.check_out(release, change)
    site.sync()
    for answer in site.salt("*", "k3sfw.apply").values():
        assert answer["result"] is True, answer


def upgrade(site, release=None, change=None):
    """Do what the page says, and watch packets meanwhile; the dry runs, the runs, the packets."""
    others = {host.name: not_ours(host) for host in site.nodes}
    with watched(site.lab.hosts, WAYS) as packets:
        site.check_out(release, change)
        site.sync()
        foretold, applied = site.apply("*", "test=True"), site.apply()
        again = site.apply()
    for name, each in applied.items():
        assert each["result"] is True, each
        assert each["changes"] == foretold[name]["changes"]
        assert again[name]["changes"] == {}
    assert {host.name: not_ours(host) for host in site.nodes} == others
    return applied, packets


def last_answers(site):
    """The newest change of each node, as its history tells it."""
    return [entries[0] for entries in site.salt("*", "k3sfw.history", "limit=1").values()]


def changed_objects(applied):
    """The objects that a run changed, by node."""
    return {
        name: {object_ for layer in each["changes"].values() for object_ in layer}
        for name, each in applied.items()
    }


@pytest.mark.parametrize("release", RELEASES)
def test_from_a_release_to_this_version_nothing_closes_and_nothing_opens(site, release):
    begin_with(site, release)
    applied, packets = upgrade(site)
    assert packets.wrong() == {}
    changed = set().union(*changed_objects(applied).values())
    # The zone's target comes into force with a reload for another reason: nothing waits for it.
    assert changed <= {"zone k3s"}
    assert not ALONE or packets.waited() == 0


@only_in_the_matrix
def test_a_version_that_changes_nothing_finds_nothing_to_change(site):
    begin_with(site)
    applied, packets = upgrade(site, change=next_version)
    assert changed_objects(applied) == {"s1": set(), "a1": set()}
    assert packets.wrong() == {}
    assert packets.waited() == 0


@only_in_the_matrix
def test_a_row_that_a_version_adds_comes_without_a_reload(site):
    begin_with(site)
    applied, packets = upgrade(site, change=with_a_row_more)
    assert changed_objects(applied) == {"s1": {"policy k3s-rows"}, "a1": {"policy k3s-rows"}}
    assert packets.wrong() == {}
    assert packets.waited() == 0


def test_objects_that_a_version_describes_anew_take_one_reload_that_refuses_nothing(site):
    begin_with(site)
    applied, packets = upgrade(site, change=with_other_objects)
    assert packets.wrong() == {}
    assert "zone k3s" in changed_objects(applied)["s1"]
    assert [len(each["reloads"]) for each in last_answers(site)] == [1, 1]
    assert not ALONE or packets.held_up() < MOMENT


def firewalls(site):
    return {host.name: kernel(host) for host in site.nodes}


def test_an_older_version_is_refused_until_the_operator_goes_back_on_purpose(site):
    begin_with(site, change=with_other_objects)
    before = firewalls(site)
    with watched(site.lab.hosts, WAYS) as packets:
        site.check_out()
        site.sync()
        for options in (("test=True",), ()):
            for refused in site.apply("*", *options).values():
                assert refused["result"] is False and refused["changes"] == {}
                assert f"k3sfw {NEXT} made the rules of this node" in refused["comment"]
        assert firewalls(site) == before
        # It is not held up by that: nothing has changed that would have to be healed.
        for healed in site.salt("*", "k3sfw.heal").values():
            assert healed["changes"] == {}
        back = site.salt("*", "k3sfw.apply", "allow_downgrade=True")
        again = site.apply()
    assert packets.wrong() == {}
    for each in back.values():
        assert each["result"] is True and each["changes"] != {}
    assert [(each["result"], each["changes"]) for each in again.values()] == [(True, {})] * 2


@only_in_the_matrix
def test_the_last_release_which_refuses_nothing_puts_its_own_rules_back(site):
    begin_with(site)
    _applied, packets = upgrade(site, salt_site.LAST_RELEASE)
    assert packets.wrong() == {}
    assert not ALONE or packets.held_up() < MOMENT
    # And forward again.
    _applied, packets = upgrade(site)
    assert packets.wrong() == {}


def test_a_change_that_waits_is_kept_by_a_next_version_and_by_this_one_again(site):
    begin_with(site)
    begin_to_wait(site)
    site.check_out(change=with_other_objects)
    site.sync()
    refused = site.apply("s1")["s1"]
    assert refused["result"] is False and "unless it is confirmed" in refused["comment"]
    assert set(site.salt("s1", "k3sfw.confirm")["s1"]["changes"]) == {"permanent"}
    assert site.apply("s1")["s1"]["result"] is True
    (site.lab.srv / "pillar/k3s/site.sls").unlink()
    assert site.apply("s1")["s1"]["result"] is True
    begin_to_wait(site)
    site.check_out()
    site.sync()
    assert set(site.salt("s1", "k3sfw.confirm")["s1"]["changes"]) == {"permanent"}
    # What the newer one kept still says that it was the newer one.
    assert f"k3sfw {NEXT} made the rules" in site.apply("s1")["s1"]["comment"]
    (site.lab.srv / "pillar/k3s/site.sls").unlink()


def begin_to_wait(site):
    file = site.lab.srv / "pillar/k3s/site.sls"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"k3s": {"ports": {"cluster": {"exporter": EXPORTER}}}}))
    answer = site.salt("s1", "k3sfw.apply", "confirm=manual", "within=900")["s1"]
    assert answer["result"] is True and answer["changes"] != {}


def test_the_master_names_the_nodes_of_another_version(site):
    begin_with(site, salt_site.LAST_RELEASE)
    site.check_out()
    site.salt_run("fileserver.clear_file_list_cache")
    site.salt_run("saltutil.sync_all")
    silent = site.salt_run("k3sfw.check")["data"]["coverage"]["silent"]
    assert set(silent) == {"a1", "s1"}
    for name, reason in silent.items():
        assert f"Fix: salt {name} saltutil.sync_all" in reason
    site.check_out(change=next_version)
    site.sync()
    (notice,) = [
        each
        for each in site.salt_run("k3sfw.check")["data"]["notices"]
        if f"k3sfw is {NEXT} here, and {__version__} on the master" in each["text"]
    ]
    assert notice["nodes"] == ["a1", "s1"]
