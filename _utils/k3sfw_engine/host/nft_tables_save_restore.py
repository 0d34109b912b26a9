"""Save nft tables of other programs before a start of firewalld, and restore them after it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

from k3sfw_engine.errors import EngineError, FirewalldUnavailable, Problem
from k3sfw_engine.host.defaults import IPTABLES_KEPT_SECONDS
from k3sfw_engine.host.nft_command import finish_nft, list_table, start_nft
from k3sfw_engine.host.nftables_service import FlushedTables

KEPT = Path("/run/k3sfw-nft")


def keep_nft_tables(flushed: FlushedTables, folder: Path = KEPT) -> None:
    """Save the tables of other programs for :py:func:`put_back_nft_tables`.

    Raises ``EngineError`` if they cannot be read or written.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        for family, name in flushed.others:
            done = finish_nft(start_nft("list", "table", family, name))
            if done.code != 0:
                continue  # Its owner removed it meanwhile.
            (folder / quote(f"{family} {name}", safe=" ")).write_bytes(done.output)
    except OSError as error:
        raise EngineError(
            [
                Problem(
                    f"nft tables cannot be saved ({error.strerror}: {error.filename}), and "
                    "systemd stops nftables.service, which flushes them; nothing was changed",
                    f"remove {folder}, make sure that there is room, then apply again",
                )
            ]
        ) from error


def put_back_nft_tables(folder: Path = KEPT) -> Iterator[str]:
    """Restore the saved tables that are gone, once; yield a sentence for each failure."""
    try:
        saved = sorted(folder.iterdir())
    except OSError:
        return
    for path in saved:
        table = unquote(path.name)
        family, _space, name = table.partition(" ")
        try:
            is_stale = time.time() - path.stat().st_mtime > IPTABLES_KEPT_SECONDS
            reason = "" if list_table(family, name) is not None else _restored(path, stale=is_stale)
            path.unlink()
        except (OSError, FirewalldUnavailable) as error:
            reason = str(error)
        if reason:
            yield str(
                Problem(
                    f"the table {table} is gone with nftables.service, and could not be "
                    f"restored ({reason})",
                    "restart the program that made it",
                )
            )


def _restored(path: Path, *, stale: bool) -> str:
    """Restore a table; return why it failed, or an empty text."""
    if stale:
        return "it was saved too long ago, and may have changed since"
    # By a pipe: SELinux may confine nft, which then cannot read a file of this folder.
    done = finish_nft(start_nft("-f", "-", stdin=subprocess.PIPE), path.read_bytes())
    return "" if done.code == 0 else done.reason
