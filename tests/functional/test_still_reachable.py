"""The proof that a node still reaches its masters, each outcome with its real cause.

The master's port is a real listener on another host; how soon a request is answered is given.
"""

import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.cluster import Lab
from lab.spec import HostSpec
from tests.selection import exhaustive
from tests.ssh_sessions import ended

DRIVER = Path(__file__).with_name("proof_driver.py")
PORT = 4506
# It never takes a connection from its kernel, as a master whose processes stand still.
LISTENER = """
import socket, sys, time
listener = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6,
    dualstack_ipv6=True, backlog=1000)
print("listening", flush=True)
time.sleep(600)
"""
LOST = "does not accept a new connection"


@pytest.fixture(scope="module")
def lab():
    hosts = (
        HostSpec("minion", "plain", 1, firewalld=False),
        HostSpec("master", "plain", 2, firewalld=False),
    )
    with Lab(f"proof{os.getpid()}", hosts, salt=False, ephemeral=True) as raised:
        yield raised


@pytest.fixture(params=["ipv4", exhaustive("ipv6")])
def master(lab, request):
    """The address of a master that accepts connections, and never reads from them."""
    with listening(lab.host("master")):
        yield getattr(lab.host("master"), request.param)
    lab.host("minion").run(["nft", "flush", "ruleset"])


@contextmanager
def listening(host):
    with ended(host.popen([sys.executable, "-c", LISTENER, str(PORT)], stdout=-1)) as process:
        assert process.stdout.readline() == "listening\n"
        yield


def proven(lab, master, answers, rules=""):
    """How a proof ends if these rules of nft take the place of a change.

    answers
        The seconds of the answers before and after it; ``None`` where none comes in time.
    """
    between = ["nft", f"add table inet cut; {rules}"] if rules else ["true"]
    given = {"masters": [[master, PORT]], "answers": answers, "between": between}
    done = lab.host("minion").run([sys.executable, str(DRIVER)], input=json.dumps(given))
    return json.loads(done.stdout)


def rule(hook, text):
    """A rule of nft in a chain of this hook."""
    chain = f"add chain inet cut {hook} {{ type filter hook {hook} priority 0; }}; "
    return f"{chain} add rule inet cut {hook} {text}"


def test_a_master_that_answers_as_before_needs_no_word(lab, master):
    assert proven(lab, master, [0, 0])["notices"] == []


def test_a_master_that_stands_still_is_busy_and_not_lost(lab, master):
    (notice,) = proven(lab, master, [0, None])["notices"]
    assert notice.startswith("the master is reached, but busy")
    assert "within 5 seconds (no answer); the change is kept" in notice


def test_a_master_that_was_silent_before_is_not_asked_again(lab, master):
    found = proven(lab, master, [None])
    assert len(found["waits"]) == 1
    assert "before the change the master accepted connections" in found["notices"][0]


def test_a_slow_master_gets_a_multiple_of_its_time_and_requests_are_spread(lab, master):
    found = proven(lab, master, [1.0, 0])
    assert found["waits"][1] == pytest.approx(10 * found["spread"])
    assert 1.0 <= found["spread"] < 2.0


CUTS = {
    "dropped on the way out": rule("output", f"tcp dport {PORT} ct state new drop"),
    "dropped on the way in": rule("input", f"tcp sport {PORT} drop"),
    "rejected": rule("output", f"tcp dport {PORT} ct state new reject"),
    # The handshake passes: a connection that was only accepted would prove nothing.
    "dropped once accepted": rule(
        "output", f"tcp dport {PORT} ct state established ct original packets > 1 drop"
    ),
    "nothing comes back once accepted": rule(
        "input", f"tcp sport {PORT} tcp flags & syn != syn drop"
    ),
}


AT_ONCE = ("dropped on the way in", "rejected")


@pytest.mark.parametrize("answers", [[0, None], exhaustive([None])], ids=["no answer", "silent"])
@pytest.mark.parametrize("cut", [exhaustive(each) if each in AT_ONCE else each for each in CUTS])
def test_a_master_that_was_cut_off_is_lost(lab, master, cut, answers):
    found = proven(lab, master, answers, CUTS[cut])
    assert [LOST in sentence for sentence in found["lost"]] == [True]
