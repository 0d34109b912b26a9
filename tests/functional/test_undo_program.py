"""The undo program meets what it did not make: a damaged copy of itself, rules of iptables."""

import conftest
import pytest
from test_transaction import Host


@pytest.fixture(scope="module")
def shared():
    with conftest.standing("undo", (conftest.SERVER,)) as raised:
        yield Host(raised.host("s1"))


@pytest.fixture
def more(pillar):
    more = {"a2": {"role": "agent", "addresses": ["192.0.2.22"]}}
    return {**pillar, "nodes": {**pillar["nodes"], **more}}


@pytest.mark.parametrize("damage", ["empty", "gone"])
def test_a_damaged_undo_program_is_made_anew_before_it_is_needed(shared, pillar, more, damage):
    shared.call("apply", pillar)
    shared.drive(0, "kill", more)  # It has begun, and nobody watches.
    program = shared.path("/var/lib/k3sfw/program/__main__.py")
    program.unlink() if damage == "gone" else program.write_bytes(b"")
    (notice,) = shared.call("apply", more)["notices"]
    assert "was broken off; all of it was undone" in notice
    assert shared.call("compare", more)["changes"] == {}
    assert not shared.path("/var/lib/k3sfw/transaction").exists()


def test_undone_rules_do_not_come_back_by_iptables(shared, pillar):
    shared.call("remove")
    shared.host.stop_firewalld()
    configuration = shared.path("/etc/firewalld/firewalld.conf")
    configuration.write_text(
        configuration.read_text().replace("FirewallBackend=nftables", "FirewallBackend=iptables")
    )
    shared.host.start_firewalld()
    old = filtering(shared)
    steps = shared.drive(99, "kill", pillar)["steps"]
    shared.call("remove")
    assert filtering(shared) == old
    for at, step in enumerate(steps[:-1]):
        if step in ("execute", "permanent", "runtime"):
            shared.drive(at, "fail", pillar)
            assert filtering(shared) == old, (step, at, steps)


def filtering(node):
    return sorted(line for line in node.run("iptables-save").splitlines() if line[:2] == "-A")
