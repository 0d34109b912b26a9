"""Every series of firewalld from 0.9 on, with both of its backends, under the machine's nft."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.compatibility.cell import Cell, NotHere, Prepared
from tests.compatibility.other_firewallds import from_debian, from_source

_Getter = Callable[[str, Path], tuple[Path, str]]

# By series: as Debian ships it, or as upstream released it last. The machine's own needs neither.
_SERIES: dict[str, tuple[_Getter, str] | None] = {
    "0.9": (from_debian, "bullseye"),
    "0.9-last": (from_source, "0.9"),
    "1.0": (from_source, "1.0"),
    "1.1": (from_source, "1.1"),
    "1.3": None,
    "2.0": (from_source, "2.0"),
    "2.1": (from_source, "2.1"),
    "2.3": (from_debian, "trixie"),
    "2.4": (from_source, "2.4"),
    "2.5": (from_debian, "forky"),
}

# Between them they make every call to firewalld, every step of a plan and of a transaction.
_CORE = (
    "test_apply.py",
    "test_drift.py",
    "test_foreign.py",
    "test_iptables.py",
    "test_bound_pods.py",
    "test_firewalld_settings.py",
    "test_paths_of_pods.py::test_direct_routes_let_pods_of_nodes_in_and_no_others",
    "test_shadow.py::test_a_broken_new_file_is_refused",
    "test_unavailable.py",
    "test_undo_program.py",
    "test_rollback.py",
    "test_healing.py::test_a_host_cut_off_by_a_firewalld_killed_in_a_reload_is_reachable_again",
    "test_adopt.py::test_exactly_what_the_script_added_goes_in_both_layers",
)
# With iptables the kernel is not read, so none of those that look into nftables.
_CORE_OF_IPTABLES = (
    "test_apply.py",
    "test_foreign.py",
    "test_firewalld_settings.py",
    "test_rollback.py",
)
# It types nothing that the others do not call, and takes half a minute.
_LEFT = ("test_apply.py::test_the_script_creates_the_same_objects_as_apply",)
# After a kill this firewalld takes minutes to start with the thousands of entries of that test.
_LEFT_BELOW_1 = (
    "test_undo_program.py::"
    "test_foreign_runtime_rules_survive_a_firewalld_that_dies_during_the_undo",
)


def cells() -> list[Cell]:
    """Return a cell for each series and backend, and one for a firewalld that is too old."""
    return [
        _cell("0.8", (from_source, "0.8"), "nftables", "the refusal", ("test_no_policies.py",)),
        *(
            _cell(series, source, backend, "the core", core)
            for series, source in _SERIES.items()
            for backend, core in (("nftables", _CORE), ("iptables", _CORE_OF_IPTABLES))
        ),
    ]


def _cell(
    series: str,
    source: tuple[_Getter, str] | None,
    backend: str,
    what: str,
    tests: tuple[str, ...],
) -> Cell:
    left = (*_LEFT, *(_LEFT_BELOW_1 if series.startswith("0.") else ()))
    return Cell(
        "firewalld",
        f"{series}-{backend}",
        what,
        (
            *("-m", "not exhaustive"),
            *(f"--deselect=tests/functional/{test}" for test in left),
            *(f"tests/functional/{test}" for test in tests),
        ),
        lambda kept: _prepared(source, backend, kept),
        firewalld=series,
        backend=backend,
        processes=3,
    )


def prepare(series: str, backend: str, kept: Path) -> Prepared:
    """Get a firewalld of this series, to be run with this backend."""
    return _prepared(_SERIES[series], backend, kept)


def _prepared(source: tuple[_Getter, str] | None, backend: str, kept: Path) -> Prepared:
    environment = {"K3SFW_FIREWALLD_SETTINGS": f"FirewallBackend={backend}"}
    if source is None:
        version = _printed("dpkg-query", "--show", "--showformat=${Version}", "firewalld")
    else:
        getter, name = source
        folder, version = getter(name, kept)
        environment["K3SFW_FIREWALLD"] = str(folder)
    program = {"nftables": "nft", "iptables": "iptables"}[backend]
    versions = {
        "firewalld": version.partition("-")[0],
        "backend": f"{backend} {_printed(program, '--version').lstrip('v')}",
        "python": _printed("/usr/bin/python3", "--version"),
    }
    return Prepared(environment, versions)


def _printed(*command: str) -> str:
    """The version in what a program prints."""
    try:
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotHere(f"{command[0]} does not tell its version: {error}") from error
    found = re.search(r"\d+(\.\d+)+", text)
    return found[0] if found else text.strip()
