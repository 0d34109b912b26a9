"""Taking over from the source's script on every node at once, proven by packets."""

import re
from pathlib import Path

import pytest

from tests.cluster.packets import reach
from tests.cluster.packets.tables import is_listed
from tests.cluster.salt_views import everything

pytestmark = pytest.mark.cluster

SCRIPT = Path(__file__).parents[3] / "bench/source_script.sh"
ZONE_FILE = "/etc/firewalld/zones/public.xml"
PORTS = {2379, 6379, 6443, 10250}


@pytest.fixture
def scripted(applied):
    """Every node with what the script adds, in one call for each kind to save time."""

    def run_script(host):
        for option in (r"--add-port=\S+", r"--add-rich-rule='[^']*'"):
            found = set(re.findall(option, SCRIPT.read_text()))
            host.run(["firewall-cmd", "--permanent", *(each.replace("'", "") for each in found)])
        host.run(["firewall-cmd", "--reload"])

    def put_back(host):
        before = files[host.name]
        if before is None:
            host.path(ZONE_FILE).unlink()
        else:
            host.path(ZONE_FILE).write_bytes(before)
        host.run(["firewall-cmd", "--reload"])

    files = {
        name: host.path(ZONE_FILE).read_bytes() if host.path(ZONE_FILE).exists() else None
        for name, host in applied.nodes.items()
    }
    applied.on_every_node(run_script)
    yield applied
    applied.on_every_node(put_back)


def test_what_the_script_opened_to_all_closes_to_all_but_the_sources_of_the_tables(scripted):
    sources = [reach.host_as_source(scripted.host(name)) for name in ("s2", "a1", "out")]
    targets = [scripted.host(name) for name in ("s1", "a1")]
    pairs = reach.pairs(sources, targets)
    with reach.responding(targets[0], PORTS), reach.responding(targets[1], PORTS):
        reach.check(pairs, PORTS, lambda question: question.protocol == "tcp")

        before = scripted.on_every_node(everything)
        predicted = scripted.salt("*", "k3sfw.adopt", test=True)
        assert scripted.on_every_node(everything) == before
        reach.check(pairs, PORTS, lambda question: question.protocol == "tcp")

        done = scripted.salt("*", "k3sfw.adopt")
        reach.check(pairs, PORTS, is_listed)

    assert set(done) == set(scripted.nodes)
    for name, returned in done.items():
        assert returned["result"] is True and predicted[name]["result"] is None
        assert returned["changes"] == predicted[name]["changes"]
        assert returned["notices"] == predicted[name]["notices"] and returned["reloads"] == []
        for layer in ("permanent", "runtime"):
            gone = returned["changes"][layer]["zone public"]
            assert len(gone["ports"]["old"]) == 14 and len(gone["rich_rules"]["old"]) == 2
    # On an agent no row opens the ports of etcd and the API, and there the test listens on them.
    closed = {name: [each.partition(",")[0] for each in done[name]["notices"]] for name in done}
    assert closed.pop("a1") == ["this closes tcp/2379", "this closes tcp/6443"]
    assert not any(closed.values())
    again = scripted.salt("*", "k3sfw.adopt")
    assert {(each["result"], len(each["changes"])) for each in again.values()} == {(True, 0)}
