"""A new version of k3sfw on a cluster that works: packets go on, and others stay out.

Each test begins with nodes that another version has made, and watches new connections while the
operator does what docs/upgrading.md says.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from lab.spec import HostSpec
from tests.cluster import salt_site
from tests.cluster.salt_views import not_ours
from tests.compatibility.next_version import next_version, with_a_row_more, with_other_objects
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
# Both nodes are reloaded at the same time, each for less than a second.
MOMENT = 5
RELEASES = ("0.1.0", salt_site.LAST_RELEASE)


@pytest.fixture(scope="module")
def site():
    programs = Path(sys.executable).parent
    with salt_site.standing("product", programs, others=(OUTSIDER,)) as site:
        yield site


def begin_with(site, release=None, change=None):
    """Put the nodes into the state in which this version leaves them."""
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
    # A zone's target cannot change at runtime: firewalld is reloaded once, and drops meanwhile.
    assert changed <= {"zone k3s"}
    assert packets.waited() == 0 if not changed else packets.held_up() < MOMENT


def test_a_version_that_changes_nothing_finds_nothing_to_change(site):
    begin_with(site)
    applied, packets = upgrade(site, change=next_version)
    assert changed_objects(applied) == {"s1": set(), "a1": set()}
    assert packets.wrong() == {}
    assert packets.waited() == 0


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
    assert packets.held_up() < MOMENT
