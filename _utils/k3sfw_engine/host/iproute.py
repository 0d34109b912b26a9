"""Interfaces, routes and neighbours of the kernel, read with one ``ip`` and one ``bridge``.

It judges nothing. ``ip -j -batch`` rather than pyroute2: importing that takes 280 ms and adds a
package to every minion's Python, while one batch takes 5 ms and needs what every host has.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import netaddr

from k3sfw_engine.errors import NetworkUnreadable
from k3sfw_engine.host import run_program
from k3sfw_engine.host.defaults import IPROUTE_SECONDS
from k3sfw_engine.model.interfaces_and_routes import (
    Forwarding,
    Hop,
    Interface,
    Lookup,
    Neighbour,
    Network,
    Route,
    Rule,
)

_UPDATE = "update the package iproute2 (iproute on Red Hat) to 5.0 or newer"

# One line each; a look-up for each target follows. Without a family they list both, except rules,
# which are IPv4.
_LISTINGS = ("address show", "route show table all", "neigh show nud all", "rule show")

# Routes that the kernel makes for its own addresses.
_OWN = ("local", "broadcast", "multicast", "anycast")

_USABLE = {"PERMANENT", "REACHABLE", "STALE", "DELAY", "PROBE"}

_FAILED = re.compile(r"Command failed -:([0-9]+)\Z")


def read_network(targets: Iterable[str]) -> Network:
    """Read the kernel's network, and ask it the way to each of these addresses.

    Raises ``NetworkUnreadable`` if ``ip`` or ``bridge`` are missing, too old or fail.
    """
    targets = tuple(dict.fromkeys(targets))
    commands = [*_LISTINGS, *(f"route get {target}" for target in targets)]
    ip, bridge = _start("ip", *_IP), _start("bridge", "-j", "fdb", "show")
    listings, ip_errors, _ip_code = _finish(ip, "\n".join(commands) + "\n")
    forwarding, bridge_errors, bridge_code = _finish(bridge)
    if bridge_code != 0:
        raise _failed("bridge", bridge_errors)
    return parse_network(targets, listings, ip_errors, forwarding)


def look_up(targets: Iterable[str]) -> dict[str, Lookup]:
    """Look up the routes to these addresses only, when ``read_network`` was called before."""
    targets = tuple(dict.fromkeys(targets))
    if not targets:
        return {}
    commands = [f"route get {target}" for target in targets]
    listings, errors, _code = _finish(_start("ip", *_IP), "\n".join(commands) + "\n")
    return _lookups(targets, _answers(len(targets), listings, errors))


# -- what ip and bridge print ---------------------------------------------------------------------


@dataclass(frozen=True)
class _Output:
    """The answer to one line of the batch: a list, or an error."""

    items: list[Any]
    error: str = ""


def parse_network(targets: Iterable[str], listings: str, errors: str, forwarding: str) -> Network:
    """Parse what ``ip`` and ``bridge`` printed.

    listings, errors
        stdout and stderr of the batch. A look-up that fails prints no list; its line number and
        the reason stand on stderr.
    """
    targets = tuple(targets)
    answers = _answers(len(_LISTINGS) + len(targets), listings, errors)
    links, routes, neighbours, rules = answers[: len(_LISTINGS)]
    for command, answer in zip(_LISTINGS, (links, routes, neighbours)):
        if answer.error:
            raise _failed(f"ip {command}", answer.error)
    return Network(
        interfaces={link["ifname"]: _interface(link) for link in links.items if link},
        routes=tuple(_route(each) for each in routes.items if _is_judged(each)),
        neighbours=tuple(_neighbours(neighbours.items)),
        forwarding=tuple(_forwarding(json.loads(forwarding or "[]"))),
        # A kernel without policy routing refuses the question: then there are no rules.
        rules=tuple(
            Rule(each["priority"], each.get("src", "all"), str(each.get("table", "")))
            for each in rules.items
        ),
        lookups=_lookups(targets, answers[len(_LISTINGS) :]),
    )


def _answers(count: int, output: str, errors: str) -> list[_Output]:
    failures = dict(_failures(errors))
    lists = list(_lists(output))
    if len(lists) + len(failures) != count:
        raise NetworkUnreadable(
            f"ip answered {len(lists) + len(failures)} of {count} questions ({_last_line(errors)})",
            _UPDATE,
        )
    ahead = iter(lists)
    return [
        _Output([], failures[line]) if line in failures else _Output(next(ahead))
        for line in range(1, count + 1)
    ]


def _failures(errors: str) -> Iterator[tuple[int, str]]:
    """The line number of each command that failed, and why."""
    reason = ""
    for line in errors.splitlines():
        failed = _FAILED.match(line.strip())
        if failed:
            yield int(failed[1]), reason.rpartition("answers: ")[2].rstrip(".") or "no reason given"
            reason = ""
        else:
            reason = reason or line.strip()


def _lists(output: str) -> Iterator[list[Any]]:
    """The lists that the commands of a batch print, one on a line."""
    for line in output.splitlines():
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise NetworkUnreadable("ip does not print JSON", _UPDATE) from error


def _interface(link: Mapping[str, Any]) -> Interface:
    info = link.get("linkinfo", {})
    data = info.get("info_data", {})
    flags = link.get("flags", ())
    return Interface(
        name=link["ifname"],
        up="UP" in flags,
        carrier="LOWER_UP" in flags,
        mtu=link["mtu"],
        kind=info.get("info_kind", ""),
        addresses=tuple(
            netaddr.IPNetwork(f"{each['local']}/{each['prefixlen']}")
            for each in link.get("addr_info", ())
            if each.get("scope") == "global" and "local" in each
        ),
        master=link.get("master", ""),
        details={
            # An IPv6 vxlan device has its own key for the local address.
            name: str(data.get(name, data.get(f"{name}6", "")))
            for name in ("id", "local", "link", "port")
            if info.get("info_kind") == "vxlan"
        },
    )


def _is_judged(route: Mapping[str, Any]) -> bool:
    return route.get("type", "unicast") not in _OWN and not str(route["dst"]).startswith("fe80:")


def _route(route: Mapping[str, Any]) -> Route:
    hops = tuple(
        Hop(hop.get("dev", ""), _gateway(hop)) for hop in route.get("nexthops", ()) or (route,)
    )
    return Route(
        destination=_destination(route, hops),
        kind=route.get("type", "unicast"),
        # IPv6 gives a blackhole the device lo.
        hops=hops if route.get("type", "unicast") == "unicast" else (),
        table=str(route.get("table", "main")),
        source=route.get("prefsrc", ""),
        metric=route.get("metric", 0),
        protocol=str(route.get("protocol", "")),
        scope=str(route.get("scope", "")),
        onlink="onlink" in route.get("flags", ()),
    )


def _destination(route: Mapping[str, Any], hops: tuple[Hop, ...]) -> netaddr.IPNetwork:
    if route["dst"] != "default":
        return netaddr.IPNetwork(route["dst"])
    # ``pref`` is printed of IPv6 routes only. A gateway of IPv6 can serve IPv4.
    version_6 = "pref" in route or ("via" not in route and any(":" in hop.gateway for hop in hops))
    return netaddr.IPNetwork("::/0" if version_6 else "0.0.0.0/0")


def _gateway(hop: Mapping[str, Any]) -> str:
    return str(hop.get("gateway") or hop.get("via", {}).get("host", ""))


def _neighbours(items: Iterable[Mapping[str, Any]]) -> Iterator[Neighbour]:
    for each in items:
        if each.get("lladdr") and _USABLE.intersection(each.get("state", ())):
            yield Neighbour(each["dst"], each["dev"], each["lladdr"])


def _forwarding(items: Iterable[Mapping[str, Any]]) -> Iterator[Forwarding]:
    for each in items:
        if each.get("dst"):
            yield Forwarding(each["mac"], each["ifname"], each["dst"])


def _lookups(targets: Iterable[str], answers: Iterable[_Output]) -> dict[str, Lookup]:
    return {target: _lookup(target, answer) for target, answer in zip(targets, answers)}


def _lookup(target: str, answer: _Output) -> Lookup:
    if answer.error or not answer.items:
        return Lookup(target, error=answer.error or "no answer")
    found = answer.items[0]
    return Lookup(
        target,
        kind=found.get("type", "unicast"),
        device=found.get("dev", ""),
        gateway=_gateway(found),
        source=found.get("prefsrc", ""),
        table=str(found.get("table", "main")),
    )


# -- the processes --------------------------------------------------------------------------------

# With -force one failing line does not end the batch.
_IP = ("-j", "-d", "-force", "-batch", "-")


def _start(program: str, *arguments: str) -> subprocess.Popen[bytes]:
    path = run_program.find_program(program)
    if path is None:
        raise NetworkUnreadable(
            f"{program} is not installed, so the kernel's routes cannot be read",
            "install the package iproute2 (iproute on Red Hat)",
        )
    return run_program.start(path, *arguments)


def _finish(process: subprocess.Popen[bytes], commands: str = "") -> tuple[str, str, int]:
    """What the program wrote to stdout and to stderr, and its exit code."""
    done = run_program.finish(process, IPROUTE_SECONDS, commands.encode())
    if done.timed_out:
        raise NetworkUnreadable(
            f"{process.args!r} did not end within {IPROUTE_SECONDS:.0f} seconds",
            "see what keeps the kernel's routes busy (ip monitor), then try again",
        )
    return done.output.decode(errors="replace"), done.errors.decode(errors="replace"), done.code


def _failed(what: str, error: str) -> NetworkUnreadable:
    return NetworkUnreadable(f"{what} fails ({_last_line(error)})", _UPDATE)


def _last_line(errors: str) -> str:
    return errors.strip().rpartition("\n")[2] or "no reason given"
