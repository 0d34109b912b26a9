"""The kernel's rules of firewalld, read with nft."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

from .errors import FirewalldUnavailable
from .kernel import KernelRules, read_nft

_DEADLINE = 10.0


_TABLE = ("inet", "firewalld")


class Listing:
    """A listing that is made and read while we talk to firewalld. Use it as a context manager."""

    def __init__(self, ipsets: Iterable[str] = ()) -> None:
        """Begin it; ``ipsets`` are all that is listed, or the whole table without any."""
        # One nft for each: of several commands it finds only what the last one names (1.0.6).
        self._processes = [_nft("-j", "list", "set", *_TABLE, name) for name in ipsets] or [
            _nft("-j", "list", "table", *_TABLE)
        ]
        self._beside = ThreadPoolExecutor(max_workers=1)
        self._rules = self._beside.submit(self._read)

    def __enter__(self) -> Listing:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
        self._beside.shutdown()

    def rules(self) -> KernelRules:
        """What the kernel holds of our objects."""
        return self._rules.result()

    def _read(self) -> KernelRules:
        read = [self._read_one(process) for process in self._processes]
        return KernelRules(
            frozenset().union(*(each.facts for each in read)), all(each.table for each in read)
        )

    @staticmethod
    def _read_one(process: subprocess.Popen[bytes]) -> KernelRules:
        listing, error = _finish(process)
        if process.returncode == 0:
            return read_nft(listing)
        if b"No such file or directory" in error:
            return KernelRules(table=False)
        raise _failed("list the kernel's rules", error)


@dataclass(frozen=True)
class BaseChain:
    """A chain of any table by which packets enter it, and what becomes of those that leave it."""

    table: str
    name: str
    hook: str
    policy: str


def base_chains() -> tuple[BaseChain, ...]:
    """The base chains of all tables, also of those that iptables made with nftables.

    Raises ``FirewalldUnavailable`` if nft is missing or fails.
    """
    listing, error = _finish(process := _nft("-j", "list", "chains"))
    if process.returncode != 0:
        raise _failed("list the kernel's chains", error)
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


def restore_table() -> None:
    """Make firewalld's table, empty, where somebody flushed it away (``nft flush ruleset``).

    A reload begins with its deletion, and fails where it is not there (measured on 1.3.3).
    """
    _listing, error = _finish(process := _nft("add", "table", *_TABLE))
    if process.returncode != 0:
        raise _failed("make the table inet firewalld", error)


def list_table(family: str, name: str) -> bytes | None:
    """A table as JSON, or ``None`` if there is no such table."""
    process = _nft("-j", "list", "table", family, name)
    listing, error = _finish(process)
    if process.returncode == 0:
        return listing
    if b"No such file or directory" in error:
        return None
    raise _failed(f"list the table {family} {name}", error)


def start_interactive() -> subprocess.Popen[bytes]:
    """An nft that takes commands, a line each, until its standard input ends."""
    return _nft("--interactive", stdin=subprocess.PIPE)


def _nft(*arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
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


def _finish(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    try:
        return process.communicate(timeout=_DEADLINE)
    except subprocess.TimeoutExpired as expired:
        process.kill()
        process.communicate()
        raise FirewalldUnavailable(
            f"nft did not answer within {_DEADLINE:.0f} seconds",
            "see what keeps the kernel's rule set busy (nft monitor), then try again",
        ) from expired


def _failed(what: str, error: bytes) -> FirewalldUnavailable:
    reason = error.decode(errors="replace").strip().splitlines()[:1]
    return FirewalldUnavailable(
        f"nft cannot {what} ({' '.join(reason)})",
        "run the minion as root, with a kernel and an nft that support nf_tables",
    )
