"""MTU: what the devices say, and what the echoes to the peers proved. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import netaddr

from k3sfw_engine.checks.node_facts import NodeFacts
from k3sfw_engine.checks.suggested_commands import typed
from k3sfw_engine.checks.verdicts import Check, Status
from k3sfw_engine.model.echo import Echo, EchoResult, PathEchoes
from k3sfw_engine.model.interfaces_and_routes import Interface
from k3sfw_engine.model.kubernetes_names import CNI_BRIDGE, OVERLAY_OVERHEAD
from k3sfw_engine.model.rows import Node


def largest_needed(at: NodeFacts, link: Interface, family: int) -> int:
    """The size of a full overlay packet on the wire, or what the link takes if there is none."""
    overlay = at.network.interfaces.get(at.overlays.get(family, ""))
    overhead = OVERLAY_OVERHEAD[at.tables.flannel_backend].get(family, 0)
    return min(overlay.mtu + overhead, link.mtu) if overlay else link.mtu


def sizes(at: NodeFacts) -> Iterator[Check]:
    """Each packet of a pod must fit into the overlay, and the overlay's into the link."""
    for family in at.pod_families:
        overlay = at.network.interfaces.get(at.overlays.get(family, ""))
        below = _below(at, overlay)
        if overlay is None or below is None or not overlay.up:
            continue
        overhead = OVERLAY_OVERHEAD[at.tables.flannel_backend][family]
        right = _right_size(at, overlay, below.mtu - overhead)
        bridge = at.network.interfaces.get(CNI_BRIDGE)
        evidence = f"{overlay.name} {overlay.mtu} + {overhead} and {below.name} {below.mtu}"
        if overlay.mtu + overhead > below.mtu and overlay.mtu == right:
            # flannel reckoned with a larger link when it started.
            yield _bad_size(
                at,
                below,
                right + overhead,
                f"{evidence}: too large for it by {overlay.mtu + overhead - below.mtu}",
            )
        elif overlay.mtu != right:
            too = "large" if overlay.mtu > right else "small"
            yield _bad_size(at, overlay, right, f"{evidence}: {overlay.name} is too {too}")
        elif bridge is not None and bridge.mtu != overlay.mtu:
            yield _bad_size(
                at,
                bridge,
                overlay.mtu,
                f"pods are sent up to {bridge.mtu} by {CNI_BRIDGE}, and {overlay.name} takes "
                f"{overlay.mtu}",
            )
        else:
            yield at.check(None, "MTU", Status.OK, evidence=evidence)


def _below(at: NodeFacts, overlay: Interface | None) -> Interface | None:
    """The link that carries the overlay: it says so itself, or it is the node's."""
    named = at.network.interfaces.get(overlay.details.get("link", "")) if overlay else None
    return named or min(at.uplinks, key=lambda link: link.mtu, default=None)


def _right_size(at: NodeFacts, overlay: Interface, most: int) -> int:
    """What the overlay's MTU was meant to be: flannel's own note, else what its neighbours say."""
    if at.host.flannel_mtu:
        return at.host.flannel_mtu
    bridge = at.network.interfaces.get(CNI_BRIDGE)
    # The bridge was made with the overlay's size, and that from the link's: of three, two agree.
    if bridge is not None and bridge.mtu in (overlay.mtu, most):
        return bridge.mtu
    return min(overlay.mtu, most)


def _bad_size(at: NodeFacts, link: Interface, right: int, evidence: str) -> Check:
    hint = at.typed(f"ip link set {link.name} mtu {right}")
    return at.check(None, "MTU", Status.BAD_MTU, evidence=evidence, hint=hint)


def paths_proven(at: NodeFacts, paths: Mapping[str, PathEchoes] | None) -> Iterator[Check]:
    """What the echoes proved."""
    if paths is None:
        yield at.check(
            None,
            "path MTU",
            Status.UNPROVEN,
            evidence="echoes that may not be fragmented need root",
            hint="run the minion as root",
        )
        return
    for peer, address in at.addresses_of(at.peers):
        path = paths.get(str(address))
        if path is not None:
            small = path.small.fate is not EchoResult.ANSWERED
            yield (
                _unanswered(at, peer, address, path.small)
                if small
                else _full(at, peer, address, path)
            )


def _unanswered(at: NodeFacts, peer: Node, address: netaddr.IPAddress, echo: Echo) -> Check:
    between = echo.by and echo.by != str(address) and echo.by not in map(str, at.node.addresses)
    status, by = Status.UNPROVEN, peer.name
    look = f"salt {peer.name} k3sfw.check_routes says more, if it answers"
    if echo.fate is EchoResult.NOT_SENT:
        status, by = Status.LOCAL_BLOCK, at.node.name
        evidence = "this host refuses to send an echo to it"
        look = f"find the rule that drops on output: {at.typed('nft list ruleset')}"
    elif between:
        by = echo.by
        refuses = "rejects" if echo.fate is EchoResult.REJECTED else "has no route for"
        status = Status.UNPROVEN if echo.fate is EchoResult.REJECTED else Status.NO_ROUTE
        evidence = f"the router {echo.by} {refuses} an echo to it"
        look = f"mend it on {echo.by}"
    elif echo.fate is EchoResult.REJECTED:
        evidence = "it is there, and rejects echoes: which sizes pass is not proven"
        look = f"let ICMP echo-request in on {peer.name}"
    elif echo.fate is EchoResult.UNREACHABLE:
        evidence = "nobody on the link has it: the node is down, or off the network"
    else:
        evidence = "no answer to an echo: the node is down, or a firewall drops it"
    return at.check(
        peer, "path MTU", status, address=str(address), by=by, evidence=evidence, hint=look
    )


def _full(at: NodeFacts, peer: Node, address: netaddr.IPAddress, path: PathEchoes) -> Check:
    echo = path.full
    if echo is None or echo.fate is EchoResult.ANSWERED:
        evidence = f"{echo.size if echo else path.small.size} bytes pass unfragmented"
        return at.check(peer, "path MTU", Status.OK, address=str(address), evidence=evidence)
    if echo.fate is EchoResult.TOO_BIG:
        by = echo.by or at.node.name
        most = f"at most {echo.mtu}" if echo.mtu else "less"
        evidence = f"{by} takes {most} bytes on the way to it, and {echo.size} are needed"
        hint = _smaller(at, address.version, echo.mtu) or f"raise the MTU on {by}"
    else:
        by = peer.name
        evidence = f"{echo.size} bytes get no answer, {path.passes} do: its link takes less"
        # How its interface is called is known there.
        device = f'$(ip -o address show to {next(iter(peer.addresses))} | cut -d" " -f2)'
        hint = typed(peer.name, f"ip link set {device} mtu {echo.size}")
    return at.check(
        peer, "path MTU", Status.BAD_MTU, address=str(address), by=by, evidence=evidence, hint=hint
    )


def _smaller(at: NodeFacts, family: int, most: int) -> str:
    """Make the overlay fit a path that takes no more than this."""
    overlay = at.overlays.get(family, "")
    if not most or overlay not in at.network.interfaces:
        return ""
    inner = most - OVERLAY_OVERHEAD[at.tables.flannel_backend][family]
    names = [name for name in (overlay, CNI_BRIDGE) if name in at.network.interfaces]
    return at.typed(*(f"ip link set {name} mtu {inner}" for name in names))
