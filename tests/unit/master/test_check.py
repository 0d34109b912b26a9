"""How the master asks a cluster: which minions, how many at once, and what it believes of them."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import count

import netaddr
import pytest

from k3sfw_engine.cluster_pillar.cluster_tables import ClusterTables
from k3sfw_engine.errors import EngineError
from k3sfw_engine.fleet.overview import overview
from k3sfw_engine.fleet.text.render import render
from k3sfw_engine.fleet.text.style import Style
from k3sfw_engine.master.check import (
    NodesBySalt,
    UnreadableAnswer,
    WrittenForms,
    ask_cluster,
    check,
)
from k3sfw_engine.master.defaults import NODES_AT_ONCE, TELL_AFTER
from k3sfw_engine.master.report import report
from k3sfw_engine.model.rows import FlannelBackend, Node, Role, Tables
from tests.simulated_fleet import Fault, simulated_fleet


class Minions:
    """Minions that answer like those of a simulated cluster, but for what a test changes."""

    def __init__(self, nodes=5, changed=None, accepted=None, seconds=0.0):
        self.cluster = simulated_fleet(nodes)
        answers = {name: each.as_dict() for name, each in self.cluster.answers.items()}
        self.answers = {**answers, **(changed or {})}
        self.accepted = set(self.cluster.nodes) if accepted is None else accepted
        self.asked, self.told = [], []
        self._times = count(1_780_000_000, seconds)

    @property
    def salt(self):
        return NodesBySalt(
            accepted=lambda: self.accepted,
            ask=self._ask,
            tell=self.told.append,
            clock=lambda: next(self._times),
        )

    def _ask(self, names, function, options):
        self.asked.append((tuple(names), function, dict(options)))
        # All that the event bus brings, whichever minions were asked.
        yield from ((name, each) for name, each in self.answers.items() if each is not None)

    def check(self, salt=None, **options):
        nodes = tuple(
            Node(name, Role(each.role), tuple(map(netaddr.IPAddress, each.addresses)))
            for name, each in self.cluster.nodes.items()
        )
        tables = Tables("production", FlannelBackend.VXLAN, (), {}, (), (), nodes)
        found = ClusterTables(tables, "base", "s1", tree={"cluster": "production"})
        return ask_cluster(found, salt or self.salt, "1.0", **options)


def test_the_nodes_of_the_tables_are_asked_by_their_ids_with_one_function():
    minions = Minions()
    found = minions.check(peers="all")
    assert minions.asked == [(("a1", "a2", "s1", "s2", "s3"), "k3sfw.check", {"peers": "all"})]
    assert set(found.answers) == set(minions.cluster.nodes)
    assert found.silent == {}
    assert found.tables == {"cluster": "production"}


def test_many_nodes_are_asked_some_at_once_and_the_operator_is_told_how_far_it_is():
    minions = Minions(250, seconds=TELL_AFTER)
    assert len(minions.check().answers) == 250
    assert [len(names) for names, _function, _options in minions.asked] == [
        NODES_AT_ONCE,
        NODES_AT_ONCE,
        50,
    ]
    assert "250 of 250 nodes answered" in minions.told


def test_a_short_run_tells_nothing_on_its_way():
    minions = Minions()
    minions.check()
    assert minions.told == []


def test_a_minion_that_was_not_asked_is_not_heard():
    minions = Minions(changed={"stranger": simulated_fleet(5).answers["a1"].as_dict()})
    found = minions.check()
    assert "stranger" not in found.answers and "stranger" not in found.silent


def test_a_node_whose_key_is_not_accepted_is_not_asked_and_silent_with_the_reason():
    minions = Minions(accepted={"a1", "a2", "s1", "s2", "not_a_node"})
    found = minions.check()
    assert minions.asked[0][0] == ("a1", "a2", "s1", "s2")
    assert found.silent == {"s3": "the master has accepted no key of a minion s3"}


REFUSED = {
    "status": "UNKNOWN",
    "summary": "the tables were refused",
    "problems": ["pillar k3s:nodes: is not a map"],
    "counts": {},
}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "its minion did not answer"),
        ("'k3sfw.check' is not available.", "it has no k3sfw.check: its k3sfw is older than the"),
        (
            {"k3sfw.check": "'k3sfw.check' is not available.", "k3sfw.check_ports": "Ask …"},
            "it has no k3sfw.check: its k3sfw is older than the",
        ),
        ("'k3sfw' __virtual__ returned False: k3sfw: this module is 0.3.0 and", "k3sfw: this mod"),
        ("Minion did not", "it answered 'Minion did not'"),
        ("", "it answered ''"),
        ("x" * 10**6, "it answered '" + "x" * 200),
        (REFUSED, "the tables were refused: pillar k3s:nodes: is not a map"),
        (
            {"format": 2, "version": "9.0"},
            "its answer cannot be used (format: 2 is not 1, which this version reads; k3sfw is 9.0",
        ),
        ({"status": "OK"}, "its answer cannot be used (format: None is not 1"),
        (False, "its answer cannot be used (the answer: False is not a map"),
        ([1, 2], "its answer cannot be used (the answer: a list is not a map"),
        ({"format": 1}, "its answer cannot be used (at: None is not a number from 0; ports: None"),
    ],
)
def test_a_node_without_a_usable_answer_is_silent_and_the_others_stand(answer, reason):
    found = Minions(changed={"a1": answer}).check()
    assert set(found.silent) == {"a1"}
    assert found.silent["a1"].startswith(reason)
    assert len(found.silent["a1"]) < 3000
    assert set(found.answers) == {"a2", "s1", "s2", "s3"}
    assert overview(found).retcode == 3


def test_a_minion_that_claims_the_worst_of_a_node_it_did_not_ask_accuses_itself_alone():
    lie = simulated_fleet(5).answers["a1"].as_dict()
    row = dict.fromkeys(
        ("from", "to", "address", "protocol", "port", "description", "expect", "by", "evidence"),
        "",
    )
    lie["ports"]["problems"] = [
        {**row, "from": "s2", "to": "s3", "by": "s3", "status": "blocked", "hint": "salt s3 x.y"}
    ]
    (cause,) = overview(Minions(changed={"a1": lie}).check()).causes
    assert cause.nodes == ("a1",)


def not_asked():
    raise AssertionError("nodes were asked although a file cannot be written")


def test_files_that_cannot_be_written_are_all_told_before_any_node_is_asked(tmp_path):
    forms = WrittenForms(str(tmp_path), str(tmp_path / "none/x.xml"), str(tmp_path / "none/x.prom"))
    with pytest.raises(EngineError) as raised:
        check(not_asked, forms)
    first, second, third = raised.value.sentences
    assert first.startswith(f"save={tmp_path} is a folder. Fix: ")
    assert second.startswith(f"junit={tmp_path}/none is not a folder. Fix: mkdir -p ")
    assert third.startswith("prometheus=")


def test_one_file_for_two_forms_is_refused(tmp_path):
    path = str(tmp_path / "x")
    with pytest.raises(EngineError) as raised:
        check(not_asked, WrittenForms(save=path, junit=path))
    assert raised.value.sentences[0].startswith("save= and junit= name the same file")


@pytest.mark.parametrize(
    ("faults", "code", "status"),
    [([], 3, "OK"), ([Fault("rejects", "s1", "6443")], 2, "FAIL")],
)
def test_the_verdict_stands_if_a_file_cannot_be_written_after_all(tmp_path, faults, code, status):
    folder = tmp_path / "gone"
    folder.mkdir()

    def ask():
        folder.rmdir()
        return simulated_fleet(5, faults)

    found = check(ask, WrittenForms(str(tmp_path / "a.json"), str(folder / "x.xml")))
    assert (found.retcode, found.data["status"]) == (code, status)
    assert found.data["written"] == [str(tmp_path / "a.json")]
    (text,) = found.data["unwritten"]
    assert text.startswith(f"{folder} is not a folder")
    assert f"Not written: {folder} is not" in " ".join(render(found.data, Style()).split())


def test_a_file_of_answers_follows_no_link_and_leaves_no_other_file(tmp_path):
    other = tmp_path / "other"
    other.write_text("secret")
    other.chmod(0o600)
    named = [tmp_path / name for name in ("a.json", "a.xml", "a.prom")]
    for path in named:
        path.with_name(f"{path.name}.new").symlink_to(other)
    named[0].symlink_to(other)
    check(lambda: simulated_fleet(2), WrittenForms(*map(str, named)))
    assert (other.read_text(), other.stat().st_mode & 0o777) == ("secret", 0o600)
    assert not any(path.is_symlink() for path in named)
    assert len(list(tmp_path.iterdir())) == 7


def test_a_device_or_a_pipe_is_refused_and_stays_what_it_is(tmp_path):
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for named in (pipe, link):
        with pytest.raises(EngineError, match="is a device or a pipe"):
            check(lambda: simulated_fleet(2), WrittenForms(save=str(named)))
    assert pipe.is_fifo() and link.is_symlink()


def test_a_link_that_another_user_laid_is_refused(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can lay the link of another user")
    other, link = tmp_path / "other", tmp_path / "link.html"
    other.write_text("secret")
    link.symlink_to(other)
    os.lchown(link, 12345, 12345)
    with pytest.raises(EngineError, match="is a link of another user"):
        check(lambda: simulated_fleet(2), WrittenForms(save=str(link)))
    with pytest.raises(EngineError, match="is a link of another user"):
        report(str(link), lambda: simulated_fleet(2), lambda _name: "")
    assert other.read_text() == "secret"


def nested(depth):
    found = []
    for _level in range(depth):
        found = [found]
    return found


@pytest.mark.parametrize("depth", [900, 1000, 3000])
@pytest.mark.parametrize("key", ["summary", "problems", "format", "ports"])
def test_an_answer_of_any_depth_costs_its_own_node_alone(depth, key):
    answer = {"summary": "", "problems": [nested(depth)]}
    changed = {**answer, key: nested(depth)}
    found = Minions(changed={"a1": changed}).check()
    assert set(found.silent) == {"a1"}
    assert set(found.answers) == {"a2", "s1", "s2", "s3"}


@pytest.mark.parametrize("bad", [{"a1"}, {"s3"}, {"a1", "s2"}, {"a1", "a2", "s1", "s2", "s3"}])
def test_a_return_that_salt_cannot_read_costs_its_own_node_alone(bad):
    minions = Minions()

    def ask(names, _function, _options):
        for name in names:
            if name in bad:
                raise UnreadableAnswer(["its answer cannot be read by Salt"])
            yield name, minions.answers[name]

    found = minions.check(salt=replace(minions.salt, ask=ask))
    assert found.silent == dict.fromkeys(bad, "its answer cannot be read by Salt")
    assert set(found.answers) == minions.cluster.nodes.keys() - bad
