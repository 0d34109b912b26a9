"""Every result of a probe, each produced by its real cause, in IPv4 and in IPv6.

A host asks another one that has a real firewalld, and a third one behind a router.
"""

import contextlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.cluster import Lab
from lab.k3s import responder
from lab.spec import HostSpec

DRIVER = Path(__file__).with_name("probe_driver.py")
SLOW_LINE = Path(__file__).with_name("slow_line.py")

TCP, UDP = "tcp", "udp"
OPEN, NO_LISTENER, REJECTED = "open", "nothing listens", "rejected"
LOCAL, DOWN, NO_ROUTE, SILENCE = "blocked by this host", "host down", "no route", "silence"

LISTENED, UNUSED = 7000, 7001
# Behind the router: the network of the far host, which the lab's switch does not carry.
FAR = ("198.51.100.2", "2001:db8:f::2")
GATEWAYS = ("198.51.100.1", "2001:db8:f::1")
NO_HOST = ("192.0.2.200", "2001:db8::200")


@pytest.fixture(scope="module")
def lab():
    hosts = (
        HostSpec("asker", "plain", 1, firewalld=False),
        HostSpec("target", "plain", 2),
        HostSpec("router", "plain", 3, firewalld=False),
        HostSpec("far", "plain", 4, firewalld=False),
    )
    with Lab(f"probe{os.getpid()}", hosts, salt=False, ephemeral=True) as raised:
        _lead_through_the_router(raised)
        with listening(raised.host("target")):
            yield raised


def _lead_through_the_router(lab):
    asker, router, far = lab.host("asker"), lab.host("router"), lab.host("far")
    for host, addresses in ((router, GATEWAYS), (far, FAR)):
        _ip(host, *(f"address add {_with_length(a)} dev eth0 {_no_wait(a)}" for a in addresses))
    router.run(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])
    router.run(["sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding"])
    # Otherwise the router would redirect them to each other.
    router.run(["sh", "-c", "echo 0 > /proc/sys/net/ipv4/conf/all/send_redirects"])
    router.run(["sh", "-c", "echo 0 > /proc/sys/net/ipv4/conf/eth0/send_redirects"])
    router.run(
        [
            "nft",
            "add table inet quiet; add chain inet quiet out "
            "{ type filter hook output priority 0; }; "
            "add rule inet quiet out icmpv6 type nd-redirect drop",
        ]
    )
    _ip(
        asker,
        f"route add 198.51.100.0/24 via {router.ipv4}",
        f"route add 2001:db8:f::/64 via {router.ipv6}",
    )
    _ip(
        far,
        "route del 192.0.2.0/24 dev eth0",
        "route del 2001:db8::/64 dev eth0",
        f"route add 192.0.2.0/24 via {GATEWAYS[0]}",
        f"route add 2001:db8::/64 via {GATEWAYS[1]}",
    )


@dataclass
class Asker:
    host: object

    def ask(self, *questions):
        """The driver's whole answer."""
        done = self.host.run(
            [sys.executable, "-I", str(DRIVER)], input=json.dumps(questions), timeout=400
        )
        return json.loads(done.stdout)

    def answers(self, *questions):
        return self.ask(*questions)["answers"]


@pytest.fixture
def asker(lab):
    return Asker(lab.host("asker"))


@pytest.fixture
def target(lab):
    """The target; runtime changes of its firewalld are dropped after each test."""
    host = lab.host("target")
    yield host
    host.run(["firewall-cmd", "--panic-off"])
    host.run(["nft", "delete table inet firewalld_policy_drop"], check=False)
    host.run(["firewall-cmd", "--reload"])


@contextlib.contextmanager
def listening(host, addresses=None):
    """Listen on TCP and UDP on one port, and on a UDP port that stays silent."""
    given = {"name": host.name, "ports": [LISTENED]}
    given["addresses"] = list(addresses or (host.ipv4, host.ipv6))
    with host.popen(
        [sys.executable, "-I", responder.__file__, json.dumps(given)], stdout=-1
    ) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            process.terminate()


@contextlib.contextmanager
def table(host, *parts):
    """Add an nft table of these parts."""
    host.run(["nft", f"table inet t {{\n{chr(10).join(parts)}\n}}"])
    try:
        yield
    finally:
        host.run(["nft", "delete", "table", "inet", "t"])


def rule(host, hook, text):
    """Add one nft rule at this hook, before all others."""
    return table(host, f"chain c {{ type filter hook {hook} priority -5; {text}; }}")


def listed(host):
    """The table of a test, as nft lists it."""
    return json.loads(host.run(["nft", "-j", "list", "table", "inet", "t"]).stdout)


def counted(listing):
    """The packets that the counters of its rules have."""
    return [
        part["counter"]["packets"]
        for each in listing["nftables"]
        for part in each.get("rule", {}).get("expr", ())
        if "counter" in part
    ]


@contextlib.contextmanager
def slow_line(router):
    """Delay what the router forwards to the far host by half a second."""
    with router.popen([sys.executable, "-I", str(SLOW_LINE), "0.5"], stdout=-1) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            router.run(["sh", "-c", "echo 0 > /proc/sys/net/ipv4/conf/slow1/rp_filter"])
            router.run(["sh", "-c", "echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter"])
            _ip(
                router,
                "link set slow0 up",
                "link set slow1 up",
                "route add default dev slow0 table 77",
                f"rule add iif eth0 to {FAR[0]} table 77",
            )
            yield
        finally:
            router.run(["ip", "rule", "del", "table", "77"], check=False)
            process.terminate()


def _ip(host, *commands):
    host.run(["ip", "-batch", "-"], input="\n".join(commands) + "\n")


def _with_length(address):
    return f"{address}/{64 if ':' in address else 24}"


def _no_wait(address):
    return "nodad" if ":" in address else ""


def both(addresses, port, protocols=(TCP, UDP)):
    """A question to each address by each protocol."""
    return [(address, protocol, port) for protocol in protocols for address in addresses]


def of(host):
    return host.ipv4, host.ipv6


def outcomes(answers):
    return [answer["outcome"] for answer in answers]


def opened(host, *ports):
    for port in ports:
        for protocol in (TCP, UDP):
            host.run(["firewall-cmd", f"--add-port={port}/{protocol}"])


# -- the table of what a prober sees, row by row --------------------------------------------------


def test_an_open_port_with_a_listener_is_open(asker, target):
    opened(target, LISTENED)
    answers = asker.answers(*both(of(target), LISTENED))
    assert outcomes(answers) == [OPEN] * 4
    assert [answer["evidence"] for answer in answers] == ["connected"] * 2 + ["a reply came"] * 2


def test_an_open_port_without_a_listener_is_recognised_by_rst_or_icmp_error(asker, target):
    opened(target, UNUSED)
    answers = asker.answers(*both(of(target), UNUSED))
    assert outcomes(answers) == [NO_LISTENER] * 4
    assert [answer["icmp"] for answer in answers] == ["", "", "3/3", "1/4"]


def test_a_zone_that_rejects_differs_from_a_port_without_a_listener(asker, target):
    answers = asker.answers(*both(of(target), LISTENED), *both(of(target), UNUSED))
    assert outcomes(answers) == [REJECTED] * 8
    assert {answer["icmp"] for answer in answers} == {"3/13", "1/1"}
    assert {answer["sender"] for answer in answers} == {*of(target)}


def test_a_rich_rule_that_rejects_tcp_is_recognised_by_the_icmp_error(asker, target):
    target.run(
        ["firewall-cmd", "--add-rich-rule", f"rule port port={LISTENED} protocol=tcp reject"]
    )
    answers = asker.answers(*both(of(target), LISTENED, [TCP]))
    assert outcomes(answers) == [REJECTED] * 2
    assert [answer["icmp"] for answer in answers] == ["3/3", "1/4"]


def test_a_rich_rule_that_rejects_udp_or_resets_tcp_looks_like_a_port_without_a_listener(
    asker, target
):
    for text in (
        f"rule port port={LISTENED} protocol=udp reject",
        f"rule family=ipv4 port port={LISTENED} protocol=tcp reject type=tcp-reset",
        f"rule family=ipv6 port port={LISTENED} protocol=tcp reject type=tcp-reset",
    ):
        target.run(["firewall-cmd", "--add-rich-rule", text])
    assert outcomes(asker.answers(*both(of(target), LISTENED))) == [NO_LISTENER] * 4


def drop_zone(target):
    target.run(["firewall-cmd", "--zone=drop", "--change-interface=eth0"])


def panic(target):
    target.run(["firewall-cmd", "--panic-on"])


def leftover_drop_table(target):
    target.run(
        [
            "nft",
            "add table inet firewalld_policy_drop; add chain inet firewalld_policy_drop "
            "filter_input { type filter hook input priority 9; policy drop; }",
        ]
    )


@pytest.mark.parametrize("make", [drop_zone, panic, leftover_drop_table])
def test_silence_is_reported_as_silence_and_never_as_open(make, asker, target):
    opened(target, LISTENED)
    make(target)
    answer = asker.ask(*both(of(target), LISTENED if make is not drop_zone else UNUSED))
    assert outcomes(answer["answers"]) == [SILENCE] * 4
    assert answer["seconds"] < 8


def test_a_host_that_is_down_is_recognised_within_four_seconds(asker):
    answer = asker.ask(*both(NO_HOST, LISTENED))
    assert outcomes(answer["answers"]) == [DOWN] * 4
    assert answer["seconds"] < 4


@pytest.mark.parametrize("kind", ["", "prohibit", "blackhole", "unreachable"])
def test_an_unusable_route_is_reported_at_once_with_its_type(kind, asker):
    networks = ("203.0.113.0/24", "2001:db8:dead::/48")
    if kind:
        _ip(asker.host, *(f"route add {kind} {network}" for network in networks))
    try:
        answer = asker.ask(*both(("203.0.113.7", "2001:db8:dead::7"), LISTENED))
    finally:
        if kind:
            _ip(asker.host, *(f"route del {kind} {network}" for network in networks))
    assert outcomes(answer["answers"]) == [NO_ROUTE] * 4
    assert answer["seconds"] < 0.5
    assert all((kind or "no route") in each["evidence"] for each in answer["answers"])


def test_a_drop_on_output_is_recognised_for_udp_and_is_silence_for_tcp(asker, target):
    opened(target, LISTENED)
    with rule(asker.host, "output", f"meta l4proto {{ tcp, udp }} th dport {LISTENED} drop"):
        answers = asker.answers(*both(of(target), LISTENED))
    assert outcomes(answers) == [SILENCE, SILENCE, LOCAL, LOCAL]


def test_a_reject_on_output_is_blamed_on_this_host(asker, target):
    opened(target, LISTENED)
    with rule(asker.host, "output", f"th dport {LISTENED} reject with icmpx admin-prohibited"):
        answers = asker.answers(*both(of(target), LISTENED))
    assert outcomes(answers) == [LOCAL] * 4


# -- silence that is known before all patience is over ---------------------------------------------

SYN = f"tcp dport {LISTENED} tcp flags & (syn | ack) == syn"
SYN_TO_OTHER = f"tcp dport {UNUSED} tcp flags & (syn | ack) == syn"


def test_silence_beside_a_port_that_answers_takes_four_packets_in_a_row(asker, target):
    opened(target, LISTENED)
    with table(
        target,
        "set senders { type inet_service; flags dynamic; }",
        "chain c { type filter hook input priority -5; "
        f"tcp dport {UNUSED} add @senders {{ tcp sport }} drop; "
        f"udp dport {UNUSED} counter drop; }}",
    ):
        answers = asker.answers(
            (target.ipv4, TCP, LISTENED), (target.ipv4, TCP, UNUSED), (target.ipv4, UDP, UNUSED)
        )
        listing = listed(target)
    assert outcomes(answers) == [OPEN, SILENCE, SILENCE]
    # Four connections of their own, where patience has one that the kernel repeats.
    (ports,) = [
        each["set"]["elem"]
        for each in listing["nftables"]
        if each.get("set", {}).get("name") == "senders"
    ]
    assert len(ports) == 4
    assert counted(listing) == [4]


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_packets_that_a_bad_line_loses_in_a_row_are_not_taken_for_a_rule(lost, asker, target):
    opened(target, LISTENED, UNUSED)
    with rule(target, "input", f"{SYN} numgen inc mod 1000 < {lost} drop"):
        answers = asker.answers((target.ipv4, TCP, UNUSED), (target.ipv4, TCP, LISTENED))
    assert outcomes(answers) == [NO_LISTENER, OPEN]


def test_a_line_that_is_lost_after_the_first_answers_is_not_taken_for_a_rule(asker, target):
    opened(target, LISTENED, UNUSED)
    # Every packet to one port is lost, and so are two to the port that answered at first.
    with table(
        target,
        "set ended { type inet_proto; flags dynamic; }",
        "chain c { type filter hook input priority -5; "
        f"{SYN} numgen inc mod 1000 == 2 add @ended {{ meta l4proto }} drop; "
        f"{SYN} numgen inc mod 1000 == 1 drop; "
        f"{SYN_TO_OTHER} meta l4proto != @ended drop; }}",
    ):
        answers = asker.answers((target.ipv4, TCP, UNUSED), (target.ipv4, TCP, LISTENED))
    assert outcomes(answers) == [NO_LISTENER, OPEN]


def test_a_rejection_that_the_rate_limit_holds_back_is_not_taken_for_silence(asker, target):
    opened(target, LISTENED)
    used_up = [(target.ipv4, TCP, 20000 + number) for number in range(7)]
    assert outcomes(asker.answers(*used_up)) == [REJECTED] * 7
    answers = asker.answers((target.ipv4, TCP, LISTENED), (target.ipv4, TCP, UNUSED))
    assert outcomes(answers) == [OPEN, REJECTED]


def test_a_slow_line_is_waited_for(lab, asker):
    router, far = lab.host("router"), lab.host("far")
    with (
        listening(far, FAR[:1]),
        slow_line(router),
        rule(far, "input", f"tcp dport {UNUSED + 1} drop"),
    ):
        answers = asker.answers(*[(FAR[0], TCP, LISTENED + number) for number in range(3)])
        with rule(router, "forward", f"{SYN} numgen inc mod 1000 < 2 drop"):
            lossy = asker.answers(*[(FAR[0], TCP, LISTENED + number) for number in range(3)])
    assert outcomes(answers) == outcomes(lossy) == [OPEN, NO_LISTENER, SILENCE]


def test_a_question_is_spared_once_anything_comes_back_to_another_one(asker, target):
    opened(target, LISTENED, UNUSED)
    counter = f"udp dport {UNUSED} counter drop"
    with table(target, f"chain c {{ type filter hook input priority -5; {counter}; }}"):
        spared = asker.answers((target.ipv4, TCP, LISTENED), (target.ipv4, UDP, UNUSED, 0))
        after_spared = counted(listed(target))
        with rule(asker.host, "output", f"tcp dport {LISTENED} drop"):
            asked = asker.answers((target.ipv4, TCP, LISTENED), (target.ipv4, UDP, UNUSED, 0))
        after_asked = counted(listed(target))
    assert outcomes(spared) == [OPEN, SILENCE]
    assert outcomes(asked) == [SILENCE, SILENCE]
    assert (after_spared, after_asked) == ([1], [5])


# -- the host to blame -----------------------------------------------------------------------------


def test_a_router_that_rejects_is_blamed_and_not_the_host_behind_it(lab, asker):
    router = lab.host("router")
    with listening(lab.host("far"), FAR):
        assert outcomes(asker.answers(*both(FAR, LISTENED))) == [OPEN] * 4
        with rule(router, "forward", "reject with icmpx admin-prohibited"):
            answers = asker.answers(*both(FAR, LISTENED))
    assert outcomes(answers) == [REJECTED] * 4
    assert {answer["sender"] for answer in answers} == {*of(router)}


def test_a_host_that_is_down_behind_a_router_is_reported_by_the_router(lab, asker):
    answers = asker.answers(("198.51.100.77", TCP, LISTENED), ("2001:db8:f::77", TCP, LISTENED))
    assert outcomes(answers) == [DOWN] * 2
    assert {answer["sender"] for answer in answers} == {*of(lab.host("router"))}


def test_a_router_without_a_route_is_told_from_a_route_that_is_missing_here(lab, asker):
    router = lab.host("router")
    beyond = ("203.0.113.9", "2001:db8:bad::9")
    vias = dict(zip(("203.0.113.0/24", "2001:db8:bad::/48"), of(router)))
    _ip(asker.host, *(f"route add {network} via {via}" for network, via in vias.items()))
    try:
        answers = asker.answers(*both(beyond, LISTENED, [TCP]))
    finally:
        _ip(asker.host, *(f"route del {network}" for network in vias))
    assert outcomes(answers) == [NO_ROUTE] * 2
    assert {answer["sender"] for answer in answers} == {*of(router)}


def test_a_router_that_rejects_as_the_target_is_reported_as_the_target(lab, asker):
    router = lab.host("router")
    spoof = [
        "add table inet lie",
        "add chain inet lie forward { type filter hook forward priority 0; }",
        f"add rule inet lie forward ip daddr {FAR[0]} tcp dport {LISTENED} reject with tcp reset",
    ]
    router.run(["nft", "; ".join(spoof)])
    try:
        with listening(lab.host("far"), FAR):
            (answer,) = asker.answers((FAR[0], TCP, LISTENED))
    finally:
        router.run(["nft", "delete", "table", "inet", "lie"])
    # The report is what came back: an RST from the target's address.
    assert answer["outcome"] == NO_LISTENER
    assert answer["evidence"].startswith("RST came back")


def test_a_port_that_accepts_and_hangs_up_is_open_and_one_that_is_silent_is_not(asker, target):
    liar = (
        "import socket, threading\n"
        f"tcp = socket.create_server(('', {UNUSED}))\n"
        "udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        f"udp.bind(('', {UNUSED}))\n"
        "print('ready', flush=True)\n"
        "while True: tcp.accept()[0].close()\n"
    )
    opened(target, UNUSED)
    with target.popen([sys.executable, "-c", liar], stdout=-1) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            answers = asker.answers((target.ipv4, TCP, UNUSED), (target.ipv4, UDP, UNUSED))
        finally:
            process.terminate()
    assert outcomes(answers) == [OPEN, SILENCE]


# -- many at once ---------------------------------------------------------------------------------


def test_a_burst_of_200_questions_to_a_rejecting_host_gives_200_right_verdicts(asker, target):
    opened(target, LISTENED)
    # The rate limit of IPv6 is four times as high here, which saves the suite a minute.
    rejected = [
        (address, protocol, 20000 + number)
        for address, numbers in zip(of(target), (range(24), range(74)))
        for number in numbers
        for protocol in (TCP, UDP)
    ]
    passing = both(of(target), LISTENED)
    answers = asker.answers(*rejected, *passing)
    assert len(answers) == 200
    assert outcomes(answers) == [REJECTED] * 196 + [OPEN] * 4


def test_a_router_that_rejects_a_burst_is_blamed_for_all_of_it(lab, asker):
    with rule(lab.host("router"), "forward", "reject with icmpx admin-prohibited"):
        answers = asker.answers(*[(FAR[0], TCP, 20000 + number) for number in range(10)])
    assert outcomes(answers) == [REJECTED] * 10
    assert {answer["sender"] for answer in answers} == {lab.host("router").ipv4}


def test_a_dropped_port_stays_silence_beside_rejected_ones(asker, target):
    target.run(["firewall-cmd", "--add-rich-rule", "rule port port=20003 protocol=tcp drop"])
    answers = asker.answers(*[(target.ipv4, TCP, 20000 + number) for number in range(12)])
    assert outcomes(answers) == [SILENCE if n == 3 else REJECTED for n in range(12)]


def test_probing_opens_no_port_and_leaves_no_socket_behind(asker, target):
    opened(target, LISTENED)
    told = asker.ask(*both(of(target), LISTENED), *both(NO_HOST, LISTENED))
    assert told["listening"] == []
    assert told["sockets"] == 0
