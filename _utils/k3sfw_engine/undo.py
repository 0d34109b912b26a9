"""The undo program: puts a node back that a run of k3sfw has left half changed.

It runs by itself, from a copy beside the journal, under the Python that runs firewalld: it needs
neither Salt nor the rest of the engine, and is alone where these were killed. Standard library,
firewalld's own dbus, and the syntax of Python 3.6.

``python3 -I COPY STATE_FOLDER ID BY [--holding]``: ``ID`` of the transaction, or ``any``; ``BY``
who undoes it; ``--holding`` where the caller holds the lock. What could not be undone is printed, a
line each, and the return code is 1. If there is no such transaction any more, nothing is done.
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import time
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence

from .iptables_rules import read_save, restoration
from .restoring import DIRECT, Snapshot, Variants, restoring

ANY = "any"
BY_RUN, BY_NEXT_RUN, BY_ROLLBACK = "run", "next run", "rollback"
BY_WATCHDOG, BY_BOOT = "watchdog", "boot"

# The files of a transaction, in its folder.
BEFORE, JOURNAL, CONFIRM_BY = "before.json", "journal", "confirm-by"
_OTHERS = "others.json"
# What the next run is to tell, in the state folder.
TOLD = "told"
# The steps in the journal from which on something of the kind may have been touched.
RELOAD, RUNTIME, ENDED = "reload", "runtime", "ended"
KEPT, UNDONE = "kept", "undone"

_BUS = "org.freedesktop.DBus"
_SERVICE = "org.fedoraproject.FirewallD1"
_PATH = "/org/fedoraproject/FirewallD1"
_DEADLINE = 8.0
_RELOAD_DEADLINE = 120.0
# What a change of so many takes firewalld at most, each.
_SECONDS_PER_ITEM = 0.5
_START_DEADLINE = 30.0
# How long the watchdog goes on while firewalld cannot be reached; then the next run takes over.
_PATIENCE = 900.0
_PAUSE = 2.0

# Errors of the bus, where firewalld is frozen or gone.
_SILENT = (
    "org.freedesktop.DBus.Error.NoReply",
    "org.freedesktop.DBus.Error.Timeout",
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.DBus.Error.Disconnected",
)

ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": os.devnull}
_READERS = {
    "zones": ("zone", "getZoneSettings2"),
    "policies": ("policy", "getPolicySettings"),
    "ipsets": ("ipset", "getEntries"),
}
_LISTS = {
    "zones": ("zone", "getZones"),
    "policies": ("policy", "getPolicies"),
    "ipsets": ("ipset", "getIPSets"),
}
_IPTABLES = ("iptables", "ip6tables")

Before = Mapping[str, Any]


class NotUndone(Exception):
    """Something is not as it was; the text is a sentence for people."""


class Refused(NotUndone):
    """firewalld answered with an error, and goes on answering."""


def main(arguments: Sequence[str]) -> int:
    """Undo the transaction; the return code."""
    state, wanted, by = arguments[:3]
    holding = "--holding" in arguments
    ends_at = None  # type: Optional[float]
    while True:
        try:
            problems = _attempt(state, wanted, by, holding)
        except Exception as error:  # Nobody else is left who would try again.
            problems = ["{}: {}".format(type(error).__name__, error)]
        # From the first failure on: before it, a person may have had an hour to confirm.
        ends_at = ends_at or time.monotonic() + (_PATIENCE if by == BY_WATCHDOG else 0.0)
        if not problems or time.monotonic() >= ends_at:
            break
        time.sleep(_PAUSE)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def _attempt(state: str, wanted: str, by: str, holding: bool) -> List[str]:
    folder = os.path.join(state, "transaction")
    before = _read_before(folder, wanted)
    if by == BY_WATCHDOG:
        while before is not None and waits_for_confirmation(folder):
            time.sleep(0.5)
            before = _read_before(folder, wanted)
    if before is None:
        return []
    with contextlib.ExitStack() as stack:
        if not holding:
            try:
                stack.enter_context(_lock(before, by))
            except NotUndone as problem:
                # A firewalld that is started anew is no sign that the run is not alive.
                return [] if by == BY_BOOT else [str(problem)]
        if not stack.enter_context(_alone(folder, wait=by != BY_BOOT)):
            return []
        # Somebody else may have undone it while we waited for the lock.
        before = _read_before(folder, wanted)
        return [] if before is None else _undo(state, folder, before, by)


def _read_before(folder: str, wanted: str) -> Optional[Before]:
    try:
        with open(os.path.join(folder, BEFORE)) as file:
            before = json.load(file)  # type: Before
    except FileNotFoundError:
        return None
    return before if wanted in (ANY, before["id"]) else None


def until(seconds: float) -> str:
    """The moment in so many seconds, by a clock that nobody sets; it ends with a reboot."""
    return "{} {}".format(time.monotonic() + seconds, _boot())


def waits_for_confirmation(folder: str) -> bool:
    """Whether a person may still confirm the transaction."""
    try:
        with open(os.path.join(folder, CONFIRM_BY)) as file:
            moment, boot = file.read().split()
            return boot == _boot() and time.monotonic() < float(moment)
    except (FileNotFoundError, ValueError):
        return False


def _boot() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


@contextlib.contextmanager
def _lock(before: Before, by: str) -> Iterator[None]:
    """Hold the lock of all runs. The watchdog ends the run whose time is over, if it holds it."""
    with open(before["lock"], "a+") as file:
        ends_at = time.monotonic() + (60.0 if by == BY_WATCHDOG else 0.0)
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > ends_at:
                    raise NotUndone("another run of k3sfw holds the lock") from None
                # Its process may be the minion, or have gone on to other work, and another run of
                # later may hold the lock.
                file.seek(0)
                if by == BY_WATCHDOG and file.read() == before["holder"]:
                    _kill_owner(before["owner"])
                time.sleep(0.05)
        # Those that wait see that it is another's turn.
        with contextlib.suppress(OSError):
            file.truncate(0)
        yield


@contextlib.contextmanager
def _alone(folder: str, wait: bool) -> Iterator[bool]:
    """Whether nobody else undoes it: a run that was killed leaves the program that it had begun."""
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open(os.path.join(folder, BEFORE)))
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except (FileNotFoundError, BlockingIOError):
            file = None
        yield file is not None


def _kill_owner(owner: Mapping[str, Any]) -> None:
    """End the process that began the transaction, unless it ended and its number is another's."""
    if started(owner["pid"]) == owner["started"]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(owner["pid"], signal.SIGKILL)


def started(pid: int) -> str:
    """When the process started, in the kernel's ticks; empty if there is none."""
    try:
        with open("/proc/{}/stat".format(pid)) as file:
            return file.read().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return ""


# -- everything as it was -------------------------------------------------------------------------


def _undo(state: str, folder: str, before: Before, by: str) -> List[str]:
    if by != BY_RUN and was_kept(folder):
        # Its run died, or the power went, before it was put away.
        archive(state, folder, before["id"])
        return []
    problems = []
    try:
        _put_back_files(before["files"])
    except OSError as error:
        # What runs is more urgent than what the next start loads.
        problems.append(
            "the file {} cannot be put back ({})".format(error.filename, error.strerror)
        )
    if by != BY_BOOT:
        try:
            _undo_runtime(folder, before, [line["step"] for line in lines(folder)])
        except NotUndone as problem:
            problems.append(str(problem))
    if by == BY_BOOT and _table_is_there("firewalld"):
        # No boot: one that was killed leaves its rules, and the one that starts now adds to them.
        # The watchdog or the next run has it load anew.
        return problems
    try:
        if not problems:
            note(folder, {"step": ENDED, "as": UNDONE, "by": by, "at": time.time()})
            if by in (BY_WATCHDOG, BY_BOOT):
                _tell(state, folder, before, by)
            archive(state, folder, before["id"])
    except OSError as error:
        problems.append("{} cannot be written ({})".format(state, error.strerror))
    return problems


def note(folder: str, line: Mapping[str, Any]) -> None:
    """Add a line to the journal, and have it on the disk."""
    with open(os.path.join(folder, JOURNAL), "a+b") as file:
        begun = file.tell() > 0
        if begun:
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":  # The last line was cut short.
                file.write(b"\n")
        file.write(json.dumps(line).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    if not begun:
        sync(folder)


def archive(state: str, folder: str, name: str) -> None:
    """Make a transaction that has ended a part of the history: from then on nobody undoes it."""
    history = os.path.join(state, "history")
    os.makedirs(history, mode=0o700, exist_ok=True)
    os.rename(folder, os.path.join(history, name))


def _tell(state: str, folder: str, before: Before, by: str) -> None:
    """Nobody hears us now."""
    at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(before["at"]))
    waited = os.path.exists(os.path.join(folder, CONFIRM_BY))
    why = "was not confirmed" if waited else "did not end"
    with open(os.path.join(state, TOLD), "w") as file:
        file.write("the {} of {} {} and was undone by the {}".format(before["what"], at, why, by))


def lines(folder: str) -> Iterator[Dict[str, Any]]:
    """The steps in the journal. What a kill or a full disk cut short had not begun."""
    try:
        with open(os.path.join(folder, JOURNAL), errors="replace") as file:
            for text in file:
                with contextlib.suppress(ValueError):
                    line = json.loads(text) if text.endswith("\n") else None
                    if isinstance(line, dict) and "step" in line:
                        yield line
    except FileNotFoundError:
        return


def was_kept(folder: str) -> bool:
    """Whether the transaction has ended well, whatever became of its run then."""
    ends = [line.get("as") for line in lines(folder) if line["step"] == ENDED]
    return ends[-1:] == [KEPT]


def _put_back_files(files: Mapping[str, Optional[str]]) -> None:
    staged = {}
    for path, text in files.items():
        waiting = path + ".new"
        if os.path.lexists(waiting):
            os.unlink(waiting)
        content = None if text is None else text.encode("latin-1")
        if content == _content(path):
            continue
        if content is None:
            os.unlink(path)
            continue
        staged[waiting] = path
        with open(waiting, "wb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    for waiting, path in staged.items():
        os.replace(waiting, path)
    # The names, too: that it was undone is noted next, perhaps on another disk.
    for folder in {os.path.dirname(path) for path in files}:
        if os.path.isdir(folder):
            sync(folder)


def sync(path: str) -> None:
    """Have on the disk what a file holds, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _content(path: str) -> Optional[bytes]:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _undo_runtime(folder: str, before: Before, steps: Sequence[str]) -> None:
    """Have our runtime objects as they were; others', too, where it needs a reload."""
    if RELOAD not in steps and RUNTIME not in steps:
        return
    firewalld = _Firewalld()
    again = not firewalld.is_there()
    if again:
        # One that is stopped takes its rules along. One that was killed leaves them.
        if not _table_is_there("firewalld") and not _table_is_there("firewalld_policy_drop"):
            return
        _start(firewalld)
    # One that was started since has added its rules to those that a killed one left, whatever these
    # let in.
    again = again or firewalld.process() != before["firewalld"]
    own = before["runtime"]
    if RELOAD not in steps and not again and not _drop_table_is_left(firewalld):
        firewalld.put_back(own)
        if firewalld.is_as(own):
            return
    others = before["others"] or _others(folder, firewalld, but=before["names"])
    kept = _iptables(before["iptables"])
    firewalld.call("", "reload", deadline=_RELOAD_DEADLINE)
    firewalld.put_back(others)
    firewalld.put_back(own)
    _put_back_iptables(kept, before["iptables"])
    if _drop_table_is_left(firewalld):
        _run(["nft", "delete", "table", "inet", "firewalld_policy_drop"])
    if not firewalld.is_as(own):
        raise NotUndone("firewalld's runtime configuration is not what it was, after a reload too")


def _others(folder: str, firewalld: "_Firewalld", but: Mapping[str, Sequence[str]]) -> Snapshot:
    """What others have at runtime; on the disk, as firewalld may die in the reload that follows."""
    path = os.path.join(folder, _OTHERS)
    try:
        with open(path) as file:
            others = json.load(file)  # type: Snapshot
    except (FileNotFoundError, ValueError):  # Not yet kept, or the disk was full.
        others = firewalld.read_all(but)
        _keep(path, json.dumps(others))
    return others


def _keep(path: str, text: str) -> None:
    """Write it for those who come after us, if that can be: what is to be undone is more urgent."""
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with open(path, "w", encoding="latin-1") as file:
            file.write(text)


# -- firewalld ------------------------------------------------------------------------------------


class _Firewalld:
    """firewalld on the system bus, by the library that it uses itself."""

    def __init__(self) -> None:
        import dbus

        self._dbus = dbus
        try:
            self._bus = dbus.SystemBus(private=True)
        except dbus.DBusException as error:
            raise NotUndone("the system D-Bus cannot be reached ({})".format(error)) from error

    def is_there(self) -> bool:
        try:
            return bool(self._bus.name_has_owner(_SERVICE))
        except self._dbus.DBusException as error:
            raise NotUndone("the system D-Bus does not answer ({})".format(error)) from error

    def process(self) -> List[str]:
        """What tells one run of it from the next."""
        try:
            answer = self._bus.call_blocking(
                _BUS, "/org/freedesktop/DBus", _BUS, "GetConnectionUnixProcessID", "s", (_SERVICE,)
            )
        except self._dbus.DBusException as error:
            raise NotUndone("firewalld is gone again ({})".format(error)) from error
        return [str(int(answer)), started(int(answer))]

    def call(
        self,
        interface: str,
        method: str,
        signature: str = "",
        arguments: Iterable[Any] = (),
        deadline: float = _DEADLINE,
    ) -> Any:
        """Raises ``NotUndone`` with firewalld's own words."""
        name = interface if "." in interface else _SERVICE + ("." + interface) * bool(interface)
        given = tuple(self._typed(argument) for argument in arguments)
        try:
            answer = self._bus.call_blocking(
                _SERVICE, _PATH, name, method, signature, given, timeout=deadline
            )
        except self._dbus.DBusException as error:
            if error.get_dbus_name() in _SILENT:
                raise NotUndone("firewalld does not answer ({})".format(error)) from error
            raise Refused("firewalld refuses {}: {}".format(method, error)) from error
        return _plain(answer)

    def _typed(self, value: Any) -> Any:
        """An argument of ours for dbus, which cannot see what an empty list is a list of."""
        if not isinstance(value, dict):
            return value
        return self._dbus.Dictionary(
            {key: self._variant(*each) for key, each in value.items()}, signature="sv"
        )

    def _variant(self, signature: str, value: Any) -> Any:
        if signature == "b":
            return self._dbus.Boolean(value)
        if signature == "as":
            return self._dbus.Array(value, signature="s")
        items = [self._dbus.Struct(item, signature=signature[2:-1]) for item in value]
        return self._dbus.Array(items, signature=signature[1:])

    def read(self, names: Mapping[str, Iterable[str]], direct: bool) -> Dict[str, Dict[str, Any]]:
        """The runtime objects of these names, as far as they are there."""
        found = {"zones": {}, "policies": {}, "ipsets": {}, "direct": {}}  # type: Dict[str, Any]
        for what, (interface, method) in _READERS.items():
            for name in names[what]:
                # An object that is gone, or an ipset that keeps its entries to itself.
                with contextlib.suppress(Refused):
                    found[what][name] = self.call(interface, method, "s", (name,))
        for what, (getter, _add, _remove, _signature) in DIRECT.items() if direct else ():
            with contextlib.suppress(Refused):
                found["direct"][what] = self.call("direct", getter)
        return found

    def read_all(self, but: Mapping[str, Sequence[str]]) -> Dict[str, Dict[str, Any]]:
        """All runtime objects without some."""
        names = {
            what: [name for name in self.call(interface, method) if name not in but[what]]
            for what, (interface, method) in _LISTS.items()
        }
        return self.read(names, direct=True)

    def put_back(self, before: Snapshot) -> None:
        """Make the objects that are there what they were, as far as firewalld lets us."""
        after = self.read(before, direct=bool(before["direct"]))
        for call in restoring(before, after):
            with contextlib.suppress(Refused):
                self.call(*call, deadline=_DEADLINE + _items(call[-1]) * _SECONDS_PER_ITEM)

    def is_as(self, before: Snapshot) -> bool:
        """Whether these objects are what they were."""
        after = self.read(before, direct=False)
        there = all(set(before[what]) == set(after[what]) for what in _READERS)
        return there and not list(restoring({**before, "direct": {}}, after))


def _items(arguments: Iterable[Any]) -> int:
    """How many rules, ports and so on these arguments of a call name."""
    settings = [argument for argument in arguments if isinstance(argument, dict)]
    values = [value for each in settings for _signature, value in each.values()]
    return sum(len(value) for value in values if isinstance(value, (list, tuple)))


def _plain(value: Any) -> Any:
    """What firewalld answered as plain data: of variants the signature and the value."""
    if isinstance(value, Mapping):
        return {str(key): _settings_value(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if type(value).__name__ == "Boolean":
        return bool(value)
    return int(value) if isinstance(value, int) else str(value)


def _settings_value(value: Any) -> List[Any]:
    plain = _plain(value)
    if isinstance(plain, list):
        return ["a" + str(value.signature), plain]
    return [{bool: "b", int: "i"}.get(type(plain), "s"), plain]


def _start(firewalld: _Firewalld) -> None:
    """Start it again where it died, and wait until it answers."""
    if os.path.isdir("/run/systemd/system"):
        _run(["systemctl", "start", "firewalld.service"], _START_DEADLINE)
    else:
        _run(["firewalld"], _START_DEADLINE)
    ends_at = time.monotonic() + _START_DEADLINE
    while not firewalld.is_there():
        if time.monotonic() > ends_at:
            raise NotUndone("firewalld died and cannot be started again")
        time.sleep(0.05)
    # It takes its name before it is ready.
    firewalld.call("", "queryPanicMode", deadline=_START_DEADLINE)


def _drop_table_is_left(firewalld: _Firewalld) -> bool:
    """Whether a reload that was killed left its table, which drops all new connections."""
    listing = _run(["nft", "list", "table", "inet", "firewalld_policy_drop"]) or ""
    return "chain filter_" in listing and not firewalld.call("", "queryPanicMode")


def _table_is_there(name: str) -> bool:
    # Not the table itself: with many entries it takes long.
    return "table inet " + name in (_run(["nft", "list", "tables"]) or "").splitlines()


# -- iptables, which firewalld before 2.0 flushes at a reload and at a start ----------------------


def _iptables(folder: str) -> Dict[str, str]:
    """What others have, as it was kept before the run's own reload, else as it is."""
    found = {}
    for family in _IPTABLES:
        path = os.path.join(folder, family)
        kept = _content(path)
        text = _run([family + "-save"]) if kept is None else kept.decode("latin-1")
        if text is not None:
            found[family] = text
            if kept is None:
                _keep(path, text)
    return found


def _put_back_iptables(kept: Mapping[str, str], folder: str) -> None:
    """Bring back what is gone; what does not come back stays kept, for the next run to tell."""
    for family, text in kept.items():
        after = _run([family + "-save"])
        if after is None:
            continue
        # Nothing of firewalld's own, which with its iptables backend may be what is to be undone.
        lost = restoration(read_save(text), read_save(after))
        restore = [family + "-restore", "--noflush", "--wait", "5"]
        if not lost or _run(restore, given=lost) is not None:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(folder, family))


def _run(command: Sequence[str], deadline: float = _DEADLINE, given: str = "") -> Optional[str]:
    """What the program prints; ``None`` if it is not there, fails or does not end."""
    try:
        done = subprocess.run(
            command,
            input=given.encode("latin-1"),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
            timeout=deadline,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("latin-1")


def names_of(snapshot: Snapshot) -> Dict[str, List[str]]:
    """The names of a snapshot's objects."""
    return {what: sorted(snapshot[what]) for what in _READERS}


__all__ = [
    "Before",
    "Variants",
    "archive",
    "lines",
    "main",
    "names_of",
    "note",
    "started",
    "sync",
    "until",
    "waits_for_confirmation",
    "was_kept",
]
