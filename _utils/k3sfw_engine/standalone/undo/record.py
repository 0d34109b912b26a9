"""The record of a transaction: all that undoes it, on disk before its first step.

Written and read here only, as JSON. A program of another version may read it while a transaction
is under way, so a field may be added and none may be renamed.
"""

import json
import os
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from .files import sync
from .restore_runtime import Snapshot

# The file, in the folder of its transaction.
RECORD = "before.json"


class BadRecord(ValueError):
    """A record that is damaged; the text names what is wrong with it."""


class Process(NamedTuple):
    """A process, and when it started: its number alone may be another's by now."""

    pid: int
    started: str

    @property
    def is_alive(self) -> bool:
        """Whether this very process still runs."""
        return bool(self.started) and Process.of(self.pid) == self

    @staticmethod
    def of(pid: int) -> "Process":
        """The process that has this number now; of none, the start is empty."""
        try:
            with open("/proc/{}/stat".format(pid)) as file:
                ticks = file.read().rpartition(")")[2].split()[19]
        except (FileNotFoundError, ProcessLookupError):
            ticks = ""
        return Process(pid, ticks)


class Record(NamedTuple):
    """What was there before a transaction, and who made it.

    version
        Of k3sfw, when it began.
    what, job
        The command, and the number of Salt's job.
    changes, reloads
        What the result shows: changes by layer and object, and the reasons of reloads.
    baseline
        Addresses and ports of the Salt masters that accepted a new connection before.
    objects
        Our readable permanent objects, each with its kind, name and settings.
    owner
        The process that runs the transaction.
    firewalld
        firewalld's process; number 0 where none ran.
    lock, holder
        The lock file of all runs, and the signature of this one in it.
    iptables
        The folder for rules of iptables that a reload may flush.
    files
        By path, the text of every file that may change; ``None`` where there was no file.
    runtime
        By kind and name, the runtime settings that may change.
    others
        The runtime objects of others that a reload would drop; ``None`` if none is planned.
    names
        By kind, the names of our own objects, which are none of ``others``.
    id, at
        The name and the time of the transaction, given when it begins.
    """

    version: str
    what: str
    job: str
    changes: Mapping[str, Any]
    reloads: Sequence[str]
    baseline: Sequence[Tuple[str, int]]
    objects: Sequence[Tuple[str, str, Mapping[str, Any]]]
    owner: Process
    firewalld: Process
    lock: str
    holder: str
    iptables: str
    files: Mapping[str, Optional[str]]
    runtime: Snapshot
    others: Optional[Snapshot]
    names: Mapping[str, Sequence[str]]
    id: str = ""
    at: float = 0.0


# What JSON has for each field.
_SHAPES: Dict[str, Tuple[type, ...]] = {
    "version": (str,),
    "what": (str,),
    "job": (str,),
    "changes": (dict,),
    "reloads": (list,),
    "baseline": (list,),
    "objects": (list,),
    "owner": (dict,),
    "firewalld": (list,),
    "lock": (str,),
    "holder": (str,),
    "iptables": (str,),
    "files": (dict,),
    "runtime": (dict,),
    "others": (dict, type(None)),
    "names": (dict,),
    "id": (str,),
    "at": (int, float),
}


def to_json(record: Record) -> str:
    """The record as text."""
    owner, firewalld = record.owner, record.firewalld
    return json.dumps(
        dict(
            record._asdict(),
            owner={"pid": owner.pid, "started": owner.started},
            firewalld=[str(firewalld.pid), firewalld.started],
        )
    )


def from_json(text: str) -> Record:
    """The record in a text; fields of a later version are left out.

    Raises ``BadRecord`` if it is not complete.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise BadRecord("{} is not JSON ({})".format(RECORD, error)) from error
    if not isinstance(found, dict):
        raise BadRecord("{} is not a record".format(RECORD))
    missing = sorted(set(_SHAPES).difference(found))
    if missing:
        raise BadRecord("{} lacks {}".format(RECORD, ", ".join(missing)))
    garbled = sorted(key for key, types in _SHAPES.items() if not isinstance(found[key], types))
    if garbled:
        raise BadRecord("{} has garbled {}".format(RECORD, ", ".join(garbled)))
    fields = {key: found[key] for key in _SHAPES}
    try:
        fields.update(_parsed(found))
    except (ValueError, TypeError, LookupError) as error:
        raise BadRecord("{} has garbled processes or lists ({})".format(RECORD, error)) from error
    return Record(**fields)


def _parsed(found: Mapping[str, Any]) -> Dict[str, Any]:
    """The fields whose types JSON does not know."""
    pid, started = found["firewalld"]
    baseline: List[Tuple[str, int]] = [(str(host), int(port)) for host, port in found["baseline"]]
    return {
        "owner": Process(int(found["owner"]["pid"]), str(found["owner"]["started"])),
        "firewalld": Process(int(pid), str(started)),
        "baseline": baseline,
        "objects": [(str(kind), str(name), dict(each)) for kind, name, each in found["objects"]],
    }


def write_record(folder: str, record: Record) -> None:
    """Write the record of a transaction into its folder, and wait until it is on disk."""
    with open(os.path.join(folder, RECORD), "w") as file:
        file.write(to_json(record))
        file.flush()
        os.fsync(file.fileno())
    sync(folder)


def read_record(folder: str) -> Optional[Record]:
    """The record in the folder of a transaction, or None if there is no transaction.

    Raises ``BadRecord`` if it is not complete.
    """
    try:
        with open(os.path.join(folder, RECORD), errors="replace") as file:
            return from_json(file.read())
    except FileNotFoundError:
        return None
