"""firewalld, asked, changed and started: over D-Bus, with the library that it uses itself."""

import contextlib
import os
import time
from typing import Any, Dict, Iterable, List, Mapping, Sequence

from .defaults import ANSWER, ANSWER_PER_ITEM, FIREWALLD_START, POLL
from .drop_table import DROP_TABLE, RELOAD, made_by
from .record import Process
from .restore_runtime import DIRECT, Snapshot, restoring
from .run_program import run_program

_BUS = "org.freedesktop.DBus"
_SERVICE = "org.fedoraproject.FirewallD1"
_PATH = "/org/fedoraproject/FirewallD1"

# Errors of the bus where firewalld is frozen or gone.
_SILENT = (
    "org.freedesktop.DBus.Error.NoReply",
    "org.freedesktop.DBus.Error.Timeout",
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.DBus.Error.Disconnected",
)
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


class NotUndone(Exception):
    """Something is not as it was; the text is the sentence for the operator."""


class CallRefused(NotUndone):
    """firewalld answered with an error, and goes on answering."""


class Firewalld:
    """firewalld on the system D-Bus."""

    def __init__(self) -> None:
        import dbus

        self._dbus = dbus
        try:
            self._bus = dbus.SystemBus(private=True)
        except dbus.DBusException as error:
            raise NotUndone("the system D-Bus cannot be reached ({})".format(error)) from error

    def is_there(self) -> bool:
        """Whether a firewalld has its name on the bus."""
        try:
            return bool(self._bus.name_has_owner(_SERVICE))
        except self._dbus.DBusException as error:
            raise NotUndone("the system D-Bus does not answer ({})".format(error)) from error

    def process(self) -> Process:
        """Its process, which tells one run of it from the next."""
        try:
            answer = self._bus.call_blocking(
                _BUS, "/org/freedesktop/DBus", _BUS, "GetConnectionUnixProcessID", "s", (_SERVICE,)
            )
        except self._dbus.DBusException as error:
            raise NotUndone("firewalld is gone again ({})".format(error)) from error
        return Process.of(int(answer))

    def call(
        self,
        interface: str,
        method: str,
        signature: str = "",
        arguments: Iterable[Any] = (),
        deadline: float = ANSWER,
    ) -> Any:
        """Call a method, on firewalld's path, and return the answer as plain data.

        Raises ``NotUndone`` with firewalld's own words.
        """
        name = interface if "." in interface else _SERVICE + ("." + interface) * bool(interface)
        given = tuple(self._typed(argument) for argument in arguments)
        try:
            answer = self._bus.call_blocking(
                _SERVICE, _PATH, name, method, signature, given, timeout=deadline
            )
        except self._dbus.DBusException as error:
            if error.get_dbus_name() in _SILENT:
                raise NotUndone("firewalld does not answer ({})".format(error)) from error
            raise CallRefused("firewalld refuses {}: {}".format(method, error)) from error
        return _plain(answer)

    def _typed(self, value: Any) -> Any:
        """An argument with the type that dbus cannot see in an empty list."""
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
        """The runtime objects of these names that exist."""
        found: Dict[str, Any] = {"zones": {}, "policies": {}, "ipsets": {}, "direct": {}}
        for what, (interface, method) in _READERS.items():
            for name in names[what]:
                # An object that is gone, or an ipset whose entries firewalld does not know.
                with contextlib.suppress(CallRefused):
                    found[what][name] = self.call(interface, method, "s", (name,))
        for what, (getter, _add, _remove, _signature) in DIRECT.items() if direct else ():
            with contextlib.suppress(CallRefused):
                found["direct"][what] = self.call("direct", getter)
        return found

    def read_all(self, but: Mapping[str, Sequence[str]]) -> Dict[str, Dict[str, Any]]:
        """All runtime objects but those of these names."""
        names = {
            what: [name for name in self.call(interface, method) if name not in but[what]]
            for what, (interface, method) in _LISTS.items()
        }
        return self.read(names, direct=True)

    def put_back(self, before: Snapshot) -> None:
        """Restore the objects that exist, as far as firewalld accepts it."""
        after = self.read(before, direct=bool(before["direct"]))
        for call in restoring(before, after):
            with contextlib.suppress(CallRefused):
                self.call(*call, deadline=ANSWER + _items(call[-1]) * ANSWER_PER_ITEM)

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
    """An answer as plain data: of variants the signature and the value."""
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


def start_firewalld(firewalld: Firewalld) -> None:
    """Start a firewalld that died, and wait until it answers."""
    if os.path.isdir("/run/systemd/system"):
        run_program(["systemctl", "start", "firewalld.service"], FIREWALLD_START)
    else:
        run_program(["firewalld"], FIREWALLD_START)
    ends_at = time.monotonic() + FIREWALLD_START
    while not firewalld.is_there():
        if time.monotonic() > ends_at:
            raise NotUndone("firewalld died and cannot be started again")
        time.sleep(POLL)
    # It takes its name before it is ready.
    firewalld.call("", "queryPanicMode", deadline=FIREWALLD_START)


def reload_left_its_drop_table(firewalld: Firewalld) -> bool:
    """Whether a reload that was killed left the table that drops all new connections."""
    listing = run_program(["nft", "list", "table", "inet", DROP_TABLE]) or ""
    is_of_reload = made_by(lambda chain: "chain {} {{".format(chain) in listing) == RELOAD
    return is_of_reload and not firewalld.call("", "queryPanicMode")


def names_of(snapshot: Snapshot) -> Dict[str, List[str]]:
    """By kind, the names of the objects in a snapshot."""
    return {what: sorted(snapshot[what]) for what in _READERS}
