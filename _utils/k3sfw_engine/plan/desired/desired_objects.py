"""The firewalld objects that a node must have, and the row behind each rule, as data. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import netaddr

from k3sfw_engine.model.firewall_objects import FirewalldObject, Objects
from k3sfw_engine.model.rich_rules import RichRule
from k3sfw_engine.model.rows import Row


@dataclass(frozen=True)
class RowRule:
    """A rich rule and the row that it comes from."""

    row: Row
    rule: RichRule


@dataclass(frozen=True)
class Desired:
    """The objects that one node must have, and the row behind each rule.

    if_routed
        The policies with the rules for pods whose packets arrive outside of the overlay, where it
        is not known whether any do: then they stay if they are there.
    """

    objects: Objects
    rules: tuple[RowRule, ...]
    rows: tuple[Row, ...]
    pods_by_interface: bool
    pod_networks: tuple[netaddr.IPNetwork, ...] = ()
    if_routed: tuple[FirewalldObject, ...] = ()
