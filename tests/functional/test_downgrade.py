"""An older k3sfw on a node whose rules a newer one made: refused, and allowed on purpose, once."""

import json

import pytest

from k3sfw_engine import __version__
from tests.functional.hosts import standing
from tests.functional.stopped_hosts import NO_MASTER, offline
from tests.functional.transactions import TransactionNode

KEPT = "/var/lib/k3sfw/tables.json"
NEWER = "99.0.0"
# What another version may make of the file besides.
FORMS = [{"version": NEWER}, {"version": NEWER, "format": 99}]


@pytest.fixture(scope="module")
def raised():
    with standing("downgrade") as lab:
        yield lab


@pytest.fixture
def node(raised, pillar):
    node = TransactionNode(raised.host("s1"))
    node.path(KEPT).unlink(missing_ok=True)
    node.call("apply", pillar)
    return node


@pytest.fixture
def stopped(node):
    node.host.stop_firewalld()
    yield node
    node.host.start_firewalld()


def mark(node, **other):
    """Make the node look as if another version had proven its tables."""
    file = node.path(KEPT)
    file.write_text(json.dumps({**json.loads(file.read_text()), **other}))


def version_on(node):
    return json.loads(node.path(KEPT).read_text())["version"]


def test_a_node_knows_which_version_made_its_rules(node):
    assert version_on(node) == __version__


@pytest.mark.parametrize("form", FORMS, ids=["same form", "other form"])
def test_the_older_one_changes_nothing_and_says_what_to_do(node, pillar, new_row, form):
    mark(node, **form)
    before, kept = node.everything(), node.path(KEPT).read_bytes()
    for tables in (pillar, new_row):
        for test in (True, False):
            (sentence,) = node.try_call("apply", tables, test=test)["refused"]
            assert NEWER in sentence and __version__ in sentence
            assert "k3sfw.apply allow_downgrade=True" in sentence
    assert node.everything() == before
    assert node.path(KEPT).read_bytes() == kept


@pytest.mark.parametrize("form", FORMS, ids=["same form", "other form"])
def test_once_it_is_allowed_the_older_one_goes_on(node, pillar, new_row, form):
    mark(node, **form)
    assert node.call("apply", new_row, allow_downgrade=True)["changes"] != {}
    assert version_on(node) == __version__
    assert node.call("apply", pillar)["changes"] != {}


def test_a_newer_one_goes_on_without_being_asked(node, pillar):
    mark(node, version="0.2.0")
    assert node.call("apply", pillar)["changes"] == {}
    assert version_on(node) == __version__


def test_what_was_broken_off_is_undone_although_the_older_one_is_refused(node, pillar, new_row):
    steps = node.drive(99, "kill", new_row)["steps"]
    node.call("apply", pillar)
    before = node.state()
    node.drive(steps.index("execute"), "kill", new_row)
    mark(node, version=NEWER)
    assert NEWER in node.try_call("apply", new_row)["refused"][0]
    node.wait_until_ended()
    assert node.state() == before


def test_a_removal_is_never_refused(node, pillar):
    mark(node, version=NEWER)
    assert node.call("remove")["changes"] != {}
    assert node.call("apply", pillar)["changes"] != {}
    assert version_on(node) == __version__


def test_the_older_one_does_not_write_for_the_start_of_a_stopped_firewalld(stopped, new_row):
    mark(stopped, version=NEWER)
    before = stopped.files()
    for test in (True, False):
        (sentence,) = stopped.try_call("prepare", new_row, test=test, **NO_MASTER)["refused"]
        assert NEWER in sentence
        assert "systemctl start firewalld, then salt-call k3sfw.apply" in sentence
    assert stopped.files() == before
    assert version_on(stopped) == NEWER


def test_an_image_is_written_by_the_older_one_once_that_is_allowed(stopped, new_row, pillar):
    mark(stopped, version=NEWER)
    assert NEWER in offline(stopped, "prepare", new_row, **NO_MASTER)["refused"][0]
    allowed = offline(stopped, "prepare", new_row, allow_downgrade=True, **NO_MASTER)
    assert allowed["changes"] != {}
    assert offline(stopped, "prepare", pillar, **NO_MASTER)["changes"] != {}
