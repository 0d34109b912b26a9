"""A host as a node of K3s: its role, and the configurations of the services that count."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import _k3s_doubts, _k3s_files, _k3s_openrc, _k3s_processes, _k3s_role, _k3s_units
from ._k3s_command import ROLES, Run
from ._k3s_configuration import Configuration, read_configuration
from ._k3s_role import Finding


@dataclass(frozen=True)
class Host:
    """What was found: the role, and one configuration for each service that counts."""

    finding: Finding
    configurations: tuple[Configuration, ...]

    @property
    def role(self) -> str:
        """The role; empty if this host is not a node."""
        return self.finding.role

    def doubts_about_role(self, by_hand: object) -> Iterator[str]:
        """What is doubtful about the role, given the value that the operator set, if any."""
        found = self.finding
        if by_hand is None:
            yield from found.doubts
        elif found.says and str(by_hand).lower() != found.says:
            yield _k3s_doubts.operator_disagrees(by_hand, found.source, found.says)


def look_at(root: Path) -> Host:
    """Read units, processes, data folder and configuration of the host below this folder."""
    processes = _k3s_processes.running(root / "proc")
    units = _k3s_units.systemd_services(root, {each.unit for each in processes if each.unit})
    services = [*units, *_k3s_openrc.openrc_services(root)]
    data = _data_folder(root, [run for service in services for run in service.runs])
    folders = [role for role in ROLES if _is_folder(root, f"{data}/{role}")]
    finding = _k3s_role.find_role(services, folders, data, processes)
    runs = [run for service in finding.services for run in service.runs]
    counted = [run for run in runs if run.role == finding.says] or runs or [Run(finding.role)]
    return Host(finding, tuple(read_configuration(root, run) for run in counted))


def _data_folder(root: Path, runs: list[Run]) -> str:
    """The data folder of the first service that has one."""
    folders = [read_configuration(root, run).data for run in runs or [Run("")]]
    return next((each for each in folders if _is_folder(root, each)), folders[0])


def _is_folder(root: Path, path: str) -> bool:
    return os.path.isdir(_k3s_files.inside(root, path))
