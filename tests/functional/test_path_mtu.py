"""Echoes with "do not fragment" on a real link: each result is produced by its real cause."""

import json
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.functional

UTILS = Path(__file__).resolve().parents[2] / "_utils"
PROBE = f"""
import dataclasses, json, sys, time
sys.path.insert(0, {str(UTILS)!r})
from k3sfw_engine.probes.echo import probe
began = time.monotonic()
found = probe(json.loads(sys.argv[1]))
took = time.monotonic() - began
answers = found and {{name: dataclasses.asdict(path) for name, path in found.items()}}
print(json.dumps([answers, took]))
"""
OUT = ("192.0.2.99", "2001:db8::99")


@pytest.fixture
def host(lab):
    return lab.host("s1")


def probed(host, *words, **sizes):
    command = [*words, sys.executable, "-c", PROBE, json.dumps(sizes)]
    return json.loads(host.run(command).stdout)


def results(host, **sizes):
    answers, _took = probed(host, **sizes)
    return {
        target: (path["small"]["result"], path["full"] and path["full"]["result"])
        for target, path in answers.items()
    }


def test_a_packet_that_fits_passes_in_both_families_at_once(host, outsider):
    answers, took = probed(host, **dict.fromkeys(OUT, 1500))
    assert {path["full"]["result"] for path in answers.values()} == {"answered"}
    assert took < 1


def test_the_limit_of_a_silent_link_is_found(host, outsider):
    outsider.run(["ip", "link", "set", "eth0", "mtu", "1400"])
    answers, _took = probed(host, **dict.fromkeys(OUT, 1500))
    for path in answers.values():
        assert (path["small"]["result"], path["full"]["result"]) == ("answered", "silent")
        assert path["passes"] == 1400


def test_a_packet_too_big_for_the_own_link_is_not_a_silent_path(host, outsider):
    host.run(["ip", "link", "set", "eth0", "mtu", "1400"])
    answers, _took = probed(host, **dict.fromkeys(OUT, 1500))
    for path in answers.values():
        assert (path["full"]["result"], path["full"]["by"]) == ("too big", "")


def test_a_router_with_a_smaller_mtu_is_named_with_it(host, outsider):
    outsider.run(
        [
            "sh",
            "-ec",
            "ip netns add far; ip link add far type veth peer name eth0 netns far;"
            "ip address add 198.51.100.1/24 dev far; ip link set far up mtu 1300;"
            "ip -n far address add 198.51.100.2/24 dev eth0; ip -n far link set eth0 up;"
            "ip -n far route add default via 198.51.100.1; echo 1 > /proc/sys/net/ipv4/ip_forward",
        ]
    )
    host.run(["ip", "route", "add", "198.51.100.0/24", "via", "192.0.2.99"])
    answers, _took = probed(host, **{"198.51.100.2": 1500})
    full = answers["198.51.100.2"]["full"]
    assert (full["result"], full["by"], full["mtu"]) == ("too big", "192.0.2.99", 1300)


def test_a_missing_host_is_unreachable_and_one_that_drops_is_silent(host, outsider):
    drop = (
        "add table inet t; add chain inet t i { type filter hook input priority 0; policy drop; }"
    )
    outsider.run(["nft", drop])
    assert results(host, **{"192.0.2.77": 1500, "192.0.2.99": 1500}) == {
        "192.0.2.77": ("unreachable", None),
        "192.0.2.99": ("silent", None),
    }


def test_a_rejection_by_the_peer_differs_from_a_refusal_to_send(host, outsider):
    server = host
    server.run(["firewall-cmd", "--add-icmp-block=echo-request"])
    answers, _took = probed(outsider, **{"192.0.2.11": 1500, "2001:db8::11": 1500})
    for target, path in answers.items():
        assert (path["small"]["result"], path["small"]["by"]) == ("rejected", target)
    drop = (
        "add table inet t; add chain inet t o { type filter hook output priority 0; policy drop; }"
    )
    outsider.run(["nft", drop])
    assert results(outsider, **{"192.0.2.11": 1500}) == {"192.0.2.11": ("not sent", None)}


def test_hundreds_of_addresses_are_asked_as_reliably_as_one(host, outsider):
    many = [f"192.0.2.{number}" for number in range(100, 250)]
    commands = [f"address add {address}/24 dev eth0" for address in many]
    outsider.run(["ip", "-batch", "-"], input="\n".join(commands) + "\n")
    answers, took = probed(host, **dict.fromkeys([*many, "192.0.2.77"], 1500))
    assert {answers[address]["full"]["result"] for address in many} == {"answered"}
    assert answers["192.0.2.77"]["small"]["result"] == "unreachable"
    assert took < 5


def test_a_user_that_is_not_root_is_refused(host):
    answers, _took = probed(host, "setpriv", "--bounding-set=-all", **{OUT[0]: 1500})
    assert answers is None
