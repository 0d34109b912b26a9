"""Calls to firewalld over the system bus, each with a deadline: how to ask, not what for."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from jeepney import (
    DBusAddress,
    HeaderFields,
    Message,
    MessageFlag,
    MessageType,
    message_bus,
    new_method_call,
)
from jeepney.auth import AuthenticationError
from jeepney.io.blocking import DBusConnection, open_dbus_connection

from k3sfw_engine.errors import FirewalldRefused, FirewalldUnavailable

SERVICE = "org.fedoraproject.FirewallD1"
RUNTIME_PATH = "/org/fedoraproject/FirewallD1"
CONFIG_PATH = "/org/fedoraproject/FirewallD1/config"
PROPERTIES = "org.freedesktop.DBus.Properties"

# What the settings are that are lists of something else than texts.
LIST_SIGNATURES = {"ports": "a(ss)", "source_ports": "a(ss)", "forward_ports": "a(ssss)"}

# firewalld answers in milliseconds. What takes longer is frozen, or busy with a change of hundreds
# of thousands of entries.
DEADLINE = 8.0

_NOT_THERE = {
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.DBus.Error.NoReply",
}


@dataclass(frozen=True)
class Call:
    """One method call; ``interface`` is the part behind firewalld's service name."""

    method: str
    interface: str = ""
    signature: str = ""
    arguments: tuple[Any, ...] = ()
    path: str = RUNTIME_PATH
    deadline: float = DEADLINE

    def message(self) -> Message:
        interface = self.interface
        if interface != PROPERTIES:
            interface = f"{SERVICE}.{interface}" if interface else SERVICE
        address = DBusAddress(self.path, SERVICE, interface)
        message = new_method_call(address, self.method, self.signature, self.arguments)
        # A call must not start a firewalld that somebody stopped.
        message.header.flags = MessageFlag.no_auto_start
        return message


# Calls on their way, with the serial numbers of their messages.
Sent = Sequence[tuple[int, Call]]


def firewalld_is_there() -> bool:
    """Whether firewalld is on the system bus, in whatever state."""
    try:
        connection = open_dbus_connection("SYSTEM")
    except (OSError, AuthenticationError):
        return False
    with connection:
        message = message_bus.NameHasOwner(SERVICE)
        return bool(connection.send_and_get_reply(message, timeout=DEADLINE).body[0])


class Bus:
    """A connection to firewalld. Use it as a context manager."""

    def __init__(self) -> None:
        try:
            self._connection: DBusConnection = open_dbus_connection("SYSTEM")
            self._replies: dict[int, Message] = {}
        except TimeoutError as error:
            raise FirewalldUnavailable(
                "the system D-Bus accepts connections and does not answer",
                "restart the D-Bus daemon (systemctl restart dbus), then firewalld",
            ) from error
        except (OSError, AuthenticationError) as error:
            raise FirewalldUnavailable(
                f"the system D-Bus cannot be reached ({error})",
                "start the D-Bus daemon (systemctl start dbus), then firewalld",
            ) from error

    def __enter__(self) -> Bus:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def process(self) -> int:
        """firewalld's process.

        Raises ``FirewalldUnavailable`` if there is none.
        """
        asked = message_bus.GetConnectionUnixProcessID(SERVICE)
        try:
            with _hanging_up_is_an_error():
                reply = self._connection.send_and_get_reply(asked, timeout=DEADLINE)
        except TimeoutError as error:
            raise _frozen(DEADLINE) from error
        if reply.header.message_type is MessageType.error:
            raise _not_running()
        return int(reply.body[0])

    def call(self, call: Call) -> Any:
        """Make one call; the single value that it returns, or ``None``.

        Raises ``FirewalldRefused`` if firewalld answers with an error, ``FirewalldUnavailable`` if
        it does not answer at all.
        """
        (answer,) = self.call_all([call])
        if isinstance(answer, FirewalldRefused):
            raise answer
        return answer

    def call_all(self, calls: Iterable[Call]) -> list[Any]:
        """Send all calls, then collect the answers in their order; errors stand among them.

        firewalld works on one call at a time, but it need not wait for us in between.
        """
        return self.collect(self.begin(calls))

    def begin(self, calls: Iterable[Call]) -> Sent:
        """Send all calls; ``collect`` gives the answers, with time for other work in between."""
        sent = []
        with _hanging_up_is_an_error():
            for call in calls:
                serial = next(self._connection.outgoing_serial)
                self._connection.send(call.message(), serial=serial)
                sent.append((serial, call))
        return sent

    def collect(self, sent: Sent) -> list[Any]:
        """The answers to these calls in their order; errors stand among them."""
        longest = max((call.deadline for _serial, call in sent), default=0.0)
        deadline = time.monotonic() + longest
        answers = []
        try:
            with _hanging_up_is_an_error():
                for serial, call in sent:
                    while serial not in self._replies:
                        reply = self._connection.receive(timeout=deadline - time.monotonic())
                        answered = reply.header.fields.get(HeaderFields.reply_serial)
                        if answered is not None:
                            self._replies[answered] = reply
                            # The deadline is for one answer, not for all of them together.
                            deadline = time.monotonic() + longest
                    answers.append(_answer(call, self._replies.pop(serial)))
        except TimeoutError as error:
            raise _frozen(longest) from error
        return answers


@contextmanager
def _hanging_up_is_an_error() -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise
    except OSError as error:
        raise FirewalldUnavailable(
            f"the system D-Bus hung up ({error})",
            "see that the D-Bus daemon and firewalld run, then apply again",
        ) from error


def _answer(call: Call, reply: Message) -> Any:
    if reply.header.message_type is not MessageType.error:
        return reply.body[0] if reply.body else None
    name = reply.header.fields.get(HeaderFields.error_name, "")
    if name in _NOT_THERE:
        raise _not_running()
    return FirewalldRefused(call.method, str(reply.body[0]) if reply.body else name)


def _frozen(deadline: float) -> FirewalldUnavailable:
    return FirewalldUnavailable(
        f"firewalld is on the D-Bus and did not answer within {deadline:.0f} seconds; it is "
        "frozen, or busy with a very large change",
        "look at its log (journalctl -u firewalld), then systemctl restart firewalld",
    )


def _not_running() -> FirewalldUnavailable:
    if shutil.which("firewalld", path="/usr/sbin:/sbin:/usr/local/sbin") is None:
        return FirewalldUnavailable(
            "firewalld is not installed",
            "salt MINION state.apply k3s.firewall installs it; by hand, install the package "
            "firewalld and start it",
        )
    unit = "/etc/systemd/system/firewalld.service"
    if os.path.realpath(unit) == "/dev/null":
        return FirewalldUnavailable(
            f"firewalld is masked ({unit} links to /dev/null)",
            "systemctl unmask firewalld, then systemctl enable --now firewalld",
        )
    return FirewalldUnavailable("firewalld is not running", "systemctl enable --now firewalld")


def those_known(bus: Bus, names: Iterable[str], calls: Iterable[Call]) -> dict[str, Any]:
    return {
        name: answer
        for name, answer in zip(names, bus.call_all(calls))
        if not isinstance(answer, FirewalldRefused)
    }
