"""nftables.service, which systemd stops when firewalld starts, and whose end flushes every table.

firewalld's unit conflicts with it up to 2.1. What the service's own file makes goes with it, as its
operator wants; tables of other programs (kube-proxy, CNI, container engines) are only in its way.
https://github.com/firewalld/firewalld/issues/742
"""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from k3sfw_engine.host import run_program
from k3sfw_engine.host.defaults import SYSTEMCTL_SECONDS
from k3sfw_engine.host.nft_command import finish_nft, nft_failure, start_nft

_SERVICE, _FIREWALLD = "nftables.service", "firewalld.service"
_SHOWN = "Id,LoadState,ActiveState,Conflicts,ExecStart,ExecStop"

# ``table inet site {``, ``add table site``; ip is the family that nft takes without a word.
_TABLE = re.compile(
    r"(?:^|(?<=;))[ \t]*(?:add[ \t]+)?table[ \t]+(?:(\w+)[ \t]+)?([\w./-]+)[ \t]*[{;\n]",
    re.MULTILINE,
)
_INCLUDE = re.compile(r"""^[ \t]*include[ \t]+["']([^"']+)["']""", re.MULTILINE)
_FILE = re.compile(r"-f[ \t]+([^\s;]+)")
_DEEPEST = 16
# Where nft looks for the files that others include.
_INCLUDES = "/etc"

# iptables-save has these, and firewalld makes its own anew.
_OF_IPTABLES = frozenset(
    (family, table)
    for family in ("ip", "ip6")
    for table in ("filter", "nat", "mangle", "raw", "security")
)
_OF_FIREWALLD = frozenset((("inet", "firewalld"), ("ip", "firewalld"), ("ip6", "firewalld")))

# Family and name.
Table = tuple[str, str]


@dataclass(frozen=True)
class FlushedTables:
    """The tables that the end of the service takes along.

    file
        What the service loads.
    own
        The tables of that file, which go.
    others
        The tables of other programs.
    """

    file: str
    own: tuple[Table, ...]
    others: tuple[Table, ...]


def read_flushed_tables() -> FlushedTables | None:
    """Read what a start of firewalld would flush; ``None`` if it flushes nothing.

    Raises ``FirewalldUnavailable`` if the kernel's tables cannot be listed.
    """
    units = _units()
    service, firewalld = units.get(_SERVICE, {}), units.get(_FIREWALLD, {})
    if service.get("ActiveState") != "active" or not service.get("ExecStop"):
        return None
    # One that is not installed yet may be of any version.
    conflicts = f"{firewalld.get('Conflicts', '')} {service.get('Conflicts', '')}"
    if firewalld.get("LoadState") == "loaded" and not {_SERVICE, _FIREWALLD} & {*conflicts.split()}:
        return None
    found = _FILE.search(service.get("ExecStart", ""))
    file = found[1] if found else ""
    listed = frozenset(tables_of_file(Path(file))) if file else frozenset()
    there = _tables()
    kept = listed | _OF_IPTABLES | _OF_FIREWALLD
    return FlushedTables(
        file,
        own=tuple(each for each in there if each in listed),
        others=tuple(each for each in there if each not in kept),
    )


def tables_of_file(path: Path, depth: int = 0) -> Iterator[Table]:
    """The tables that a file of nft makes, and the files that it includes."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return
    for family, name in _TABLE.findall(text):
        yield (family or "ip", name)
    for pattern in _INCLUDE.findall(text) if depth < _DEEPEST else ():
        for each in sorted(glob.glob(os.path.join(_INCLUDES, pattern))):
            yield from tables_of_file(Path(each), depth + 1)


def _tables() -> list[Table]:
    done = finish_nft(start_nft("-j", "list", "tables"))
    if done.code != 0:
        raise nft_failure("list the kernel's tables", done.errors)
    items = (item.get("table") for item in json.loads(done.output)["nftables"])
    return sorted((each["family"], each["name"]) for each in items if each)


def _units() -> Mapping[str, Mapping[str, str]]:
    """The properties of both units; none where systemd does not run."""
    program = run_program.find_program("systemctl")
    if program is None or not os.path.isdir("/run/systemd/system"):
        return {}
    done = run_program.run(
        program, "show", f"--property={_SHOWN}", _SERVICE, _FIREWALLD, seconds=SYSTEMCTL_SECONDS
    )
    blocks = done.output.decode(errors="replace").split("\n\n")
    units = [
        dict(line.partition("=")[::2] for line in block.splitlines() if "=" in line)
        for block in blocks
    ]
    return {each.get("Id", ""): each for each in units}
