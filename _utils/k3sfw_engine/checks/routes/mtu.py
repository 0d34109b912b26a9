"""The verdict on packet sizes: the MTU of the devices, and what echoes to peers proved. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import netaddr

from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.routes import messages
from k3sfw_engine.checks.routes.defaults import SMALLEST_MTU
from k3sfw_engine.checks.suggested_commands import lookup_in_words, set_mtu
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.model.echo import Echo, EchoResult, PathEchoes
from k3sfw_engine.model.interfaces_and_routes import Interface
from k3sfw_engine.model.kubernetes_names import CNI_BRIDGE, OVERLAY_OVERHEAD
from k3sfw_engine.model.rows import Node


def largest_needed(at: NodeFacts, link: Interface, family: int) -> int:
    """The size of a full overlay packet on the wire; without an overlay the link's MTU.

    If pods are in the other family only, the size of their packets is enough in this one too.
    """
    overhead = OVERLAY_OVERHEAD[at.tables.flannel_backend]
    full = {
        each: at.network.interfaces[name].mtu + overhead[each]
        for each, name in _overlays(at).items()
    }
    return min(full.get(family, max(full.values(), default=link.mtu)), link.mtu)


def judge_mtus(at: NodeFacts) -> Iterator[Check]:
    """A full packet of a pod must fit into the overlay, and the overlay's packet into the link."""
    for family in at.pod_families:
        overlay = at.network.interfaces.get(at.overlays.get(family, ""))
        link = _link_below(at, overlay)
        if overlay is None or link is None or not overlay.up:
            continue
        overhead = OVERLAY_OVERHEAD[at.tables.flannel_backend][family]
        right = min(_right_mtu(at, overlay, link.mtu - overhead), link.mtu - overhead)
        bridge = at.network.interfaces.get(CNI_BRIDGE)
        evidence = f"{overlay.name} {overlay.mtu} + {overhead} and {link.name} {link.mtu}"
        if overlay.mtu + overhead > link.mtu:
            excess = overlay.mtu + overhead - link.mtu
            shrink = _shrink_overlays(at, link.mtu)
            problem = messages.mtu_too_large(evidence, excess, link.name, shrink)
            yield at.check(None, "MTU", Status.BAD_MTU, problem)
        elif overlay.mtu != right and not (bridge and bridge.mtu <= overlay.mtu < right):
            # Smaller than it could be is right if pods know it: the path may not carry more.
            too = "large" if overlay.mtu > right else "small"
            yield _wrong(at, overlay, right, f"{evidence}: {overlay.name} is too {too}")
        elif bridge is not None and bridge.mtu != overlay.mtu:
            yield _wrong(at, bridge, overlay.mtu, messages.too_small_for_pods(bridge, overlay))
        else:
            yield at.check(None, "MTU", Status.OK, evidence)


def _link_below(at: NodeFacts, overlay: Interface | None) -> Interface | None:
    """The link that carries the overlay: the one that it names, or the node's smallest."""
    named = at.network.interfaces.get(overlay.details.get("link", "")) if overlay else None
    return named or min(at.uplinks, key=lambda link: link.mtu, default=None)


def _right_mtu(at: NodeFacts, overlay: Interface, most: int) -> int:
    """The MTU that flannel gave the overlay: its own note, else what the devices beside it say."""
    if at.host.flannel_mtu:
        return at.host.flannel_mtu
    bridge = at.network.interfaces.get(CNI_BRIDGE)
    # The bridge got its MTU from the overlay, and the overlay from the link: of three, two agree.
    if bridge is not None and bridge.mtu in (overlay.mtu, most):
        return bridge.mtu
    return min(overlay.mtu, most)


def _wrong(at: NodeFacts, link: Interface, right: int, evidence: str) -> Check:
    problem = messages.mtu_wrong(at.node.name, evidence, link.name, right)
    return at.check(None, "MTU", Status.BAD_MTU, problem)


def judge_echoes(
    at: NodeFacts, paths: Mapping[str, PathEchoes] | None, blamed: frozenset[str]
) -> Iterator[Check]:
    """What the echoes proved; ``None`` if none could be sent.

    blamed
        Addresses whose silence has a cause that is reported elsewhere.
    """
    if paths is None:
        yield at.check(None, "path MTU", Status.UNPROVEN, messages.echoes_need_root())
        return
    for peer, address in at.addresses_of(at.peers):
        path = paths.get(str(address))
        if path is not None:
            answered = path.small.result is EchoResult.ANSWERED
            if not answered and str(address) in blamed:
                continue
            yield (
                _full(at, peer, address, path)
                if answered
                else _unanswered(at, peer, address, path.small)
            )


def _unanswered(at: NodeFacts, peer: Node, address: netaddr.IPAddress, echo: Echo) -> Check:
    on_the_way = echo.by and echo.by != str(address) and echo.by not in map(str, at.node.addresses)
    status, by = Status.UNPROVEN, peer.name
    if echo.result is EchoResult.NOT_SENT:
        status, by = Status.LOCAL_BLOCK, at.node.name
        problem = messages.echo_not_sent(at.node.name)
    elif on_the_way:
        by = echo.by
        rejected = echo.result is EchoResult.REJECTED
        status = Status.UNPROVEN if rejected else Status.NO_ROUTE
        problem = messages.echo_refused_by_router(echo.by, rejected)
    elif echo.result is EchoResult.REJECTED:
        problem = messages.echo_rejected(peer.name)
    elif echo.result is EchoResult.UNREACHABLE:
        problem = messages.echo_unreachable(peer.name, address.version)
    else:
        near, lookup = at.prefix_of(address), at.lookup(address)
        detour = near and (lookup.gateway or lookup.device != near[1])
        problem = messages.echo_silent(peer.name, lookup_in_words(lookup) if detour else "")
    return at.check(peer, "path MTU", status, problem, address=str(address), by=by)


def _full(at: NodeFacts, peer: Node, address: netaddr.IPAddress, path: PathEchoes) -> Check:
    echo = path.full
    if echo is None or echo.result is EchoResult.ANSWERED:
        evidence = f"{echo.size if echo else path.small.size} bytes pass unfragmented"
        return at.check(peer, "path MTU", Status.OK, evidence, address=str(address))
    if echo.result is EchoResult.TOO_BIG:
        by = echo.by or at.node.name
        shrink = _shrink_overlays(at, echo.mtu)
        problem = messages.path_too_small(by, echo.mtu, echo.size, shrink)
    else:
        by = peer.name
        shrink = _shrink_overlays(at, path.passes)
        problem = messages.peer_link_too_small(peer.name, echo.size, path.passes, shrink)
    return at.check(peer, "path MTU", Status.BAD_MTU, problem, address=str(address), by=by)


def _overlays(at: NodeFacts) -> dict[int, str]:
    """The overlay devices that carry pods' packets on this node, by their family."""
    return {
        family: name
        for family, name in at.overlays.items()
        if family in at.pod_families and name in at.network.interfaces
    }


def _shrink_overlays(at: NodeFacts, most: int) -> str:
    """The commands that fit the overlays, and the bridge with them, into packets of this size."""
    overhead = OVERLAY_OVERHEAD[at.tables.flannel_backend]
    present = _overlays(at)
    inner = {name: most - overhead[family] for family, name in present.items()}
    if not inner or any(inner[name] < SMALLEST_MTU[family] for family, name in present.items()):
        return ""
    if CNI_BRIDGE in at.network.interfaces:
        inner[CNI_BRIDGE] = min(inner.values())
    return at.run_here(*(set_mtu(*each) for each in inner.items()))
