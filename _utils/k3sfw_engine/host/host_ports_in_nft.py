"""hostPorts whose rules portmap writes with nftables: find those that are lost, and write them.

firewalld does not touch them, but ``nft flush ruleset`` takes them along, and so does the end of
nftables.service, which the start of an older firewalld causes.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from k3sfw_engine.errors import EngineError
from k3sfw_engine.host import run_program
from k3sfw_engine.host.defaults import NFT_SECONDS
from k3sfw_engine.host.nft_command import list_table, start_nft
from k3sfw_engine.host.nft_netlink import NftNetlink
from k3sfw_engine.model.addresses import FAMILIES
from k3sfw_engine.model.host_ports import HostPorts, PodPorts
from k3sfw_engine.model.portmap_nft_rules import (
    NFT_FAMILIES,
    NFT_TABLE,
    expected_nft_uses,
    is_lost_in_nft,
    nft_restoration,
)


def containers_in_nft() -> frozenset[str]:
    """The containers that have rules, whatever their network says."""
    with NftNetlink() as tables:
        exists = any(tables.uses_of_chain(each, NFT_TABLE, "hostports") for each in FAMILIES)
    families = FAMILIES if exists else ()
    return frozenset(rule.get("comment", "") for each in families for rule in _rules(each))


def lost_in_nft(pods: Collection[PodPorts]) -> HostPorts:
    """Find the pods that lost rules, and what could not be read."""
    with NftNetlink() as tables:
        if all(
            tables.uses_of_chain(family, NFT_TABLE, chain) >= uses
            for family in FAMILIES
            for chain, uses in expected_nft_uses(pods, family).items()
        ):
            return HostPorts()
    try:
        there = {family: _comments(family) for family in FAMILIES}
    except EngineError as error:
        return HostPorts((), error.problems)
    return HostPorts(
        tuple(
            pod
            for pod in pods
            if any(is_lost_in_nft(pod, family, there[family]) for family in pod.addresses)
        )
    )


def write_with_nft(lost: Collection[PodPorts]) -> Iterator[str]:
    """Write the lost rules of these pods, in one transaction a family; yield why it failed."""
    for family in FAMILIES if lost else ():
        there = _comments(family)
        missing = [pod for pod in lost if is_lost_in_nft(pod, family, there)]
        if missing and (reason := _run(nft_restoration(missing, family, there))):
            yield reason


def remove_with_nft(pods: Collection[PodPorts]) -> None:
    """Remove the rules of these pods, as far as they are there."""
    containers = {pod.container for pod in pods}
    for family in FAMILIES if pods else ():
        table = f"{NFT_FAMILIES[family]} {NFT_TABLE}"
        lines = [
            f"delete rule {table} {rule['chain']} handle {rule['handle']}"
            for rule in _rules(family)
            if rule.get("comment") in containers
        ]
        if lines:
            _run("".join(f"{line}\n" for line in lines))


def _comments(family: int) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for rule in _rules(family):
        found.setdefault(rule["chain"], []).append(rule.get("comment", ""))
    return found


def _rules(family: int) -> list[Mapping[str, Any]]:
    listing = list_table(NFT_FAMILIES[family], NFT_TABLE)
    items = json.loads(listing)["nftables"] if listing else []
    return [item["rule"] for item in items if "rule" in item]


def _run(commands: str) -> str:
    """Run commands of nft in one transaction; why it failed, or an empty text."""
    process = start_nft("-f", "-", stdin=subprocess.PIPE)
    done = run_program.finish(process, NFT_SECONDS, commands.encode())
    if done.timed_out:
        return f"no end within {NFT_SECONDS:.0f} seconds"
    return "" if done.code == 0 else done.reason
