"""Faults, notices and doubts, collected while a pillar is read; and values made legible."""

from __future__ import annotations

from k3sfw_engine.errors import Fault
from k3sfw_engine.port_tables.defaults import LONGEST_TEXT, LONGEST_VALUE


class Findings:
    """What was found besides the values.

    A part that may turn out to be unusable is read into findings of its own, which are then added
    or reported in another way.

    faults
        What refuses the pillar.
    notices
        Sentences about what was left out without refusing the rest.
    unsure
        Reasons why the cluster may have more nodes than are listed.
    """

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.notices: list[str] = []
        self.unsure: list[str] = []

    def fault(self, path: str, problem: str, fix: str = "") -> None:
        """Note a fault at this pillar path."""
        legible = path if path.isprintable() and len(path) <= LONGEST_TEXT else short(path)
        self.faults.append(Fault(legible, problem, fix))

    def add(self, other: Findings) -> None:
        """Take over everything that was found while a part was read."""
        self.faults += other.faults
        self.notices += other.notices
        self.unsure += other.unsure


def below(path: str, key: object) -> str:
    """The pillar path of a key."""
    return f"{path}:{legible(key)}"


def legible(key: object) -> str:
    """A key as a part of a pillar path."""
    return key if isinstance(key, str) else short(key)


def printable(key: object) -> str:
    """A key as a word of a sentence."""
    return key if isinstance(key, str) and key.isprintable() else short(key)


def short(value: object) -> str:
    """A value as a sentence can hold it: written as Python does, and cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write out integers of more than some thousand digits.
        text = "an integer of very many digits"
    except RecursionError:
        text = "a value that is nested too deeply to show"
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."
