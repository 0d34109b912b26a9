"""The program nft: tables and chains of the kernel, as JSON."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from k3sfw_engine.errors import FirewalldUnavailable
from k3sfw_engine.host import run_program
from k3sfw_engine.host.defaults import NFT_SECONDS
from k3sfw_engine.model.host_facts import BaseChain


def base_chains() -> tuple[BaseChain, ...]:
    """List the base chains of all tables, including those that iptables made with nftables.

    Raises ``FirewalldUnavailable`` if nft is missing or fails.
    """
    return tuple(
        BaseChain(
            f"{chain['family']} {chain['table']}",
            chain["name"],
            chain["hook"],
            chain.get("policy", "accept"),
        )
        for chain in _list_chains()
        if "hook" in chain
    )


def all_chains() -> tuple[str, ...]:
    """List the chains of all tables, with family and table before the name of each.

    Raises ``FirewalldUnavailable`` if nft is missing or fails.
    """
    return tuple(f"{each['family']} {each['table']} {each['name']}" for each in _list_chains())


def _list_chains() -> list[dict[str, Any]]:
    done = finish_nft(start_nft("-j", "list", "chains"))
    if done.code != 0:
        raise nft_failure("list the kernel's chains", done.errors)
    return [item["chain"] for item in json.loads(done.output)["nftables"] if "chain" in item]


def list_table(family: str, name: str, *, numeric: bool = False) -> bytes | None:
    """List a table as JSON; ``None`` if there is no such table.

    numeric
        Protocols by number: their names are those of the host's /etc/protocols, if it has one.

    Raises ``FirewalldUnavailable`` if nft is missing or fails.
    """
    options = ("-j", "--numeric-protocol") if numeric else ("-j",)
    done = finish_nft(start_nft(*options, "list", "table", family, name))
    if done.code == 0:
        return done.output
    if b"No such file or directory" in done.errors:
        return None
    raise nft_failure(f"list the table {family} {name}", done.errors)


def start_interactive() -> subprocess.Popen[bytes]:
    """Start an nft that takes commands, one on a line, until its standard input ends."""
    return start_nft("--interactive", stdin=subprocess.PIPE)


def start_nft(*arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """Start nft. Raises ``FirewalldUnavailable`` if it is not installed."""
    nft = run_program.find_program("nft")
    if nft is None:
        raise FirewalldUnavailable(
            "nft is not installed, so the kernel's rules cannot be read",
            "install the package nftables",
        )
    return run_program.start(nft, *arguments, stdin=stdin)


def finish_nft(
    process: subprocess.Popen[bytes], given: bytes | None = None
) -> run_program.Finished:
    """Hand nft its input and wait for its end.

    Raises ``FirewalldUnavailable`` if it does not end in time.
    """
    done = run_program.finish(process, NFT_SECONDS, given)
    if done.timed_out:
        raise FirewalldUnavailable(
            f"nft did not answer within {NFT_SECONDS:.0f} seconds",
            "see what keeps the kernel's rule set busy (nft monitor), then try again",
        )
    return done


def nft_failure(what: str, errors: bytes) -> FirewalldUnavailable:
    """The error for an nft that failed: ``what`` it was to do."""
    reason = errors.decode(errors="replace").strip().splitlines()[:1]
    return FirewalldUnavailable(
        f"nft cannot {what} ({' '.join(reason)})",
        "run the minion as root, with a kernel and an nft that support nf_tables",
    )
