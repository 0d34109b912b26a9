"""The promises below ``k3s:tests``: who must reach what, and who must not.

Whether a node exists is judged later: a node that leaves must not make the pillar refuse its
promises.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import netaddr

from k3sfw_engine.model.port_ranges import EVERY_PORT, common, parse_span
from k3sfw_engine.model.protocol_names import parse_protocol
from k3sfw_engine.model.rows import (
    ROOT,
    Endpoint,
    EndpointKind,
    FlannelBackend,
    OpenedBy,
    PortRange,
    Promise,
    PromisedPorts,
    PromiseSeverity,
    Protocol,
    WhenAbsent,
)
from k3sfw_engine.port_tables.defaults import MINION_ID, MOST_TESTS, ROW_NAME
from k3sfw_engine.port_tables.findings import Findings, below, legible, short
from k3sfw_engine.port_tables.single_values import (
    boolean,
    choice,
    each,
    mapping,
    network,
    port_range,
    refuse_unknown_keys,
    text,
)

Groups = Mapping[str, tuple[netaddr.IPNetwork, ...]]

_COLUMNS = {"from", "except", "to", "accept", "deny", "why", "severity", "expect", "opened_by"}
_COLUMNS |= {"ask_from", "enabled", "flannel_backend"}
_COMPLETE = "give the test from, to, and accept or deny"
_NODES = (EndpointKind.ANY, EndpointKind.SERVER, EndpointKind.AGENT)
_NAMED = (EndpointKind.GROUP, EndpointKind.CIDR, EndpointKind.NODE)
_KEYWORDS = tuple(kind for kind in EndpointKind if kind not in _NAMED)


def read_tests(
    found: Findings, value: object, groups: Groups, backend: FlannelBackend | None
) -> tuple[Promise, ...]:
    """Read ``k3s:tests``, without those switched off or for another backend."""
    path = f"{ROOT}:tests"
    tests = mapping(found, path, value)
    if len(tests) > MOST_TESTS:
        found.fault(path, f"{len(tests)} tests are more than the {MOST_TESTS} that are judged")
        return ()
    read = [
        _test(found, below(path, name), name, tests[name], groups, backend)
        for name in sorted(tests, key=legible)
    ]
    return tuple(promise for promise in read if promise is not None)


def _test(
    found: Findings,
    path: str,
    name: object,
    value: object,
    groups: Groups,
    backend: FlannelBackend | None,
) -> Promise | None:
    own = Findings()
    if not isinstance(name, str) or not ROW_NAME.match(name):
        own.fault(path, "a test's name has letters, digits, '_', '.' and '-', at most 64")
    columns = mapping(own, path, value)
    refuse_unknown_keys(own, path, columns, _COLUMNS)
    enabled = boolean(own, f"{path}:enabled", columns.get("enabled", True))
    promise = None
    if enabled and not own.faults:
        promise = _promise(own, path, str(name), columns, groups)
    only_for = columns.get("flannel_backend")
    if enabled and only_for is not None:
        only_for = choice(own, f"{path}:flannel_backend", only_for, FlannelBackend)
    found.add(own)
    if own.faults or (only_for is not None and only_for is not backend):
        return None
    return promise


def _promise(
    found: Findings, path: str, name: str, columns: Mapping[Any, Any], groups: Groups
) -> Promise:
    for key in ("from", "to"):
        if key not in columns:
            found.fault(path, f"has no {key}", _COMPLETE)
    if "accept" not in columns and "deny" not in columns:
        found.fault(path, "has neither accept nor deny", "name the ports in one of them")
    source = partial(_source, groups=groups)
    destination = partial(_destination, groups=groups)
    accept = _several(found, path, columns, "accept", _promised_ports)
    deny = _several(found, path, columns, "deny", _promised_ports)
    _refuse_contradiction(found, path, accept, deny)
    return Promise(
        name=name,
        sources=_several(found, path, columns, "from", source),
        exceptions=_several(found, path, columns, "except", source),
        destinations=_several(found, path, columns, "to", destination),
        accept=accept,
        deny=deny,
        why=text(found, f"{path}:why", columns.get("why", ""), empty=True),
        severity=_choice(found, path, columns, "severity", PromiseSeverity.FAIL),
        expect=_choice(found, path, columns, "expect", WhenAbsent.TOLD),
        opened_by=_choice(found, path, columns, "opened_by", OpenedBy.ROWS),
        ask_from=_several(found, path, columns, "ask_from", _minion),
    )


def _choice(found: Findings, path: str, columns: Mapping[Any, Any], key: str, default: Any) -> Any:
    if key not in columns:
        return default
    return choice(found, f"{path}:{key}", columns[key], type(default)) or default


def _several(
    found: Findings, path: str, columns: Mapping[Any, Any], key: str, read: Any
) -> tuple[Any, ...]:
    """The values of a column, sorted; nothing if the column is missing."""
    where = f"{path}:{key}"
    # An empty list of exceptions takes back those of a test that we ship.
    if key not in columns or (key in ("except", "ask_from") and columns[key] == []):
        return ()
    values = each(found, where, columns[key], read)
    if len(set(values)) < len(values):
        found.fault(where, "names the same twice", "name each once")
    return tuple(sorted(set(values)))


def _source(found: Findings, path: str, name: object, *, groups: Groups) -> Endpoint | None:
    if isinstance(name, str):
        for kind in _KEYWORDS:
            if name.lower() == kind.value:
                return Endpoint(kind)
        if name in groups:
            return Endpoint(EndpointKind.GROUP, name)
        if "/" in name or ":" in name or name.replace(".", "").isdigit():
            cidr = network(found, path, name)
            return None if cidr is None else Endpoint(EndpointKind.CIDR, str(cidr))
        if _is_minion_id(name):
            return Endpoint(EndpointKind.NODE, name)
    found.fault(
        path,
        f"{short(name)} is not {', '.join(kind.value for kind in _KEYWORDS)}, a group "
        f"({', '.join(sorted(groups))}), a minion id or a CIDR",
    )
    return None


def _destination(found: Findings, path: str, name: object, *, groups: Groups) -> Endpoint | None:
    if isinstance(name, str):
        for kind in _NODES:
            if name.lower() == kind.value:
                return Endpoint(kind)
        others = {kind.value for kind in _KEYWORDS}
        if name.lower() not in others and name not in groups and _is_minion_id(name):
            return Endpoint(EndpointKind.NODE, name)
    found.fault(
        path,
        f"{short(name)} is not a node: those are server, agent, any, or a minion id",
    )
    return None


def _minion(found: Findings, path: str, name: object) -> str | None:
    if isinstance(name, str) and _is_minion_id(name):
        return name
    found.fault(path, f"{short(name)} is not a minion id")
    return None


def _is_minion_id(name: str) -> bool:
    return name.isprintable() and bool(MINION_ID.match(name))


def _promised_ports(found: Findings, path: str, value: object) -> PromisedPorts | None:
    """Read ``tcp/2379-2380``, ``tcp`` for all of its ports, ``vrrp``, ``ip/253`` or ``any``."""
    if not isinstance(value, str) or value.isdigit():
        # A row's protocol may be a number; here it would be taken for a port.
        found.fault(path, f"{short(value)} names no protocol", "write it as tcp/6443 or ip/112")
        return None
    name, slash, ports = value.partition("/")
    if name.lower() == "ip" and ports.isdigit():
        name, slash = ports, ""
    try:
        protocol = parse_protocol(name)
    except ValueError as error:
        found.fault(
            path, f"the protocol {short(name)} {error}", "write it as tcp/6443 or tcp/2379-2380"
        )
        return None
    if not slash:
        return PromisedPorts(protocol, EVERY_PORT if protocol.has_ports else None)
    if not protocol.has_ports:
        found.fault(path, f"protocol {protocol.value} has no port", f"write {protocol.value}")
        return None
    span = port_range(found, path, ports if "-" in ports else _number(ports))
    return None if span is None else PromisedPorts(protocol, span)


def _number(ports: str) -> object:
    try:
        return parse_span(ports).low
    except ValueError:
        return ports


def _refuse_contradiction(
    found: Findings,
    path: str,
    accept: tuple[PromisedPorts, ...],
    deny: tuple[PromisedPorts, ...],
) -> None:
    for one in accept:
        for other in deny:
            if _meet(one, other):
                found.fault(
                    path, f"{one} is in accept, and {other} in deny", "name every port in one"
                )


def _meet(one: PromisedPorts, other: PromisedPorts) -> bool:
    if Protocol.ANY in (one.protocol, other.protocol):
        return True
    whole = PortRange(0, 0)
    return one.protocol is other.protocol and bool(common(one.ports or whole, other.ports or whole))
