"""The kernel's rules of firewalld, read with nft."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

from k3sfw_engine.errors import FirewalldUnavailable
from k3sfw_engine.model.host_facts import BaseChain

_DEADLINE = 10.0


def base_chains() -> tuple[BaseChain, ...]:
    """The base chains of all tables, also of those that iptables made with nftables.

    Raises ``FirewalldUnavailable`` if nft is missing or fails.
    """
    listing, error = finish_nft(process := start_nft("-j", "list", "chains"))
    if process.returncode != 0:
        raise nft_failure("list the kernel's chains", error)
    chains = [item["chain"] for item in json.loads(listing)["nftables"] if "chain" in item]
    return tuple(
        BaseChain(
            f"{chain['family']} {chain['table']}",
            chain["name"],
            chain["hook"],
            chain.get("policy", "accept"),
        )
        for chain in chains
        if "hook" in chain
    )


def list_table(family: str, name: str) -> bytes | None:
    """A table as JSON, or ``None`` if there is no such table."""
    process = start_nft("-j", "list", "table", family, name)
    listing, error = finish_nft(process)
    if process.returncode == 0:
        return listing
    if b"No such file or directory" in error:
        return None
    raise nft_failure(f"list the table {family} {name}", error)


def start_interactive() -> subprocess.Popen[bytes]:
    """An nft that takes commands, a line each, until its standard input ends."""
    return start_nft("--interactive", stdin=subprocess.PIPE)


def start_nft(*arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    nft = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if nft is None:
        raise FirewalldUnavailable(
            "nft is not installed, so what the kernel holds cannot be read",
            "install the package nftables",
        )
    return subprocess.Popen(
        [nft, *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # The interactive one keeps a history where HOME is, or in the root folder without any.
        env={"LC_ALL": "C", "HOME": os.devnull},
    )


def finish_nft(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    try:
        return process.communicate(timeout=_DEADLINE)
    except subprocess.TimeoutExpired as expired:
        process.kill()
        process.communicate()
        raise FirewalldUnavailable(
            f"nft did not answer within {_DEADLINE:.0f} seconds",
            "see what keeps the kernel's rule set busy (nft monitor), then try again",
        ) from expired


def nft_failure(what: str, error: bytes) -> FirewalldUnavailable:
    reason = error.decode(errors="replace").strip().splitlines()[:1]
    return FirewalldUnavailable(
        f"nft cannot {what} ({' '.join(reason)})",
        "run the minion as root, with a kernel and an nft that support nf_tables",
    )
