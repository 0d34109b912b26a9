"""Calls to firewalld over the system bus, each with a deadline. It knows no method of firewalld."""

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
from jeepney.io.blocking import DBusConnection

from k3sfw_engine.errors import FirewalldRefused, FirewalldUnavailable
from k3sfw_engine.firewalld import messages
from k3sfw_engine.firewalld.defaults import CALL_SECONDS, START_POLL, START_SECONDS
from k3sfw_engine.host import run_program
from k3sfw_engine.host.defaults import SYSTEMCTL_SECONDS
from k3sfw_engine.host.image import is_image, refuse_in_image
from k3sfw_engine.host.system_bus import open_system_bus

SERVICE = "org.fedoraproject.FirewallD1"
RUNTIME_PATH = "/org/fedoraproject/FirewallD1"
CONFIG_PATH = "/org/fedoraproject/FirewallD1/config"
PROPERTIES = "org.freedesktop.DBus.Properties"

# The D-Bus signatures of settings that are lists, but not of strings.
LIST_SIGNATURES = {"ports": "a(ss)", "source_ports": "a(ss)", "forward_ports": "a(ssss)"}

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
    deadline: float = CALL_SECONDS

    def message(self) -> Message:
        interface = self.interface
        if interface != PROPERTIES:
            interface = f"{SERVICE}.{interface}" if interface else SERVICE
        address = DBusAddress(self.path, SERVICE, interface)
        message = new_method_call(address, self.method, self.signature, self.arguments)
        # A call must not start a firewalld that was stopped on purpose.
        message.header.flags = MessageFlag.no_auto_start
        return message


# Calls without an answer yet, with the serial numbers of their messages.
Sent = Sequence[tuple[int, Call]]


def firewalld_is_there() -> bool:
    """Whether firewalld is on the system bus, in whatever state."""
    if is_image():
        return False
    try:
        with open_system_bus() as connection:
            return _has_started(connection)
    except TimeoutError:
        return True  # The bus is frozen, and what is on it goes on.
    except (OSError, AuthenticationError):
        return False


def _has_started(connection: DBusConnection) -> bool:
    """Whether firewalld is on the bus; wait for one that systemd has just started.

    From 2.3.4, 2.4.3 and 2.5 on, its unit is active as soon as its process is there.
    https://github.com/firewalld/firewalld/commit/a8451858
    """
    ends_at = time.monotonic() + START_SECONDS
    asked = message_bus.NameHasOwner(SERVICE)
    while not connection.send_and_get_reply(asked, timeout=CALL_SECONDS).body[0]:
        if time.monotonic() > ends_at or not _systemd_runs_it():
            return False
        time.sleep(START_POLL)
    return True


def _systemd_runs_it() -> bool:
    program = run_program.find_program("systemctl")
    if program is None or not os.path.isdir("/run/systemd/system"):
        return False
    state = run_program.run(program, "is-active", "firewalld.service", seconds=SYSTEMCTL_SECONDS)
    return state.output.strip() in (b"active", b"activating")


class Bus:
    """A connection to firewalld. Use it as a context manager."""

    def __init__(self) -> None:
        refuse_in_image()
        try:
            self._connection: DBusConnection = open_system_bus()
            self._replies: dict[int, Message] = {}
            _has_started(self._connection)
        except TimeoutError as error:
            raise FirewalldUnavailable(messages.bus_is_frozen()) from error
        except (OSError, AuthenticationError) as error:
            raise FirewalldUnavailable(messages.bus_is_unreachable(error)) from error

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
        """Return the number of firewalld's process.

        Raises ``FirewalldUnavailable`` if it does not run.
        """
        asked = message_bus.GetConnectionUnixProcessID(SERVICE)
        try:
            with _closed_connection_is_an_error():
                reply = self._connection.send_and_get_reply(asked, timeout=CALL_SECONDS)
        except TimeoutError as error:
            raise FirewalldUnavailable(messages.is_frozen(CALL_SECONDS)) from error
        if reply.header.message_type is MessageType.error:
            raise _not_running()
        return int(reply.body[0])

    def call(self, call: Call) -> Any:
        """Make one call and return its single value, or ``None``.

        Raises ``FirewalldRefused`` if firewalld answers with an error, ``FirewalldUnavailable`` if
        it does not answer at all.
        """
        (answer,) = self.call_all([call])
        if isinstance(answer, FirewalldRefused):
            raise answer
        return answer

    def call_all(self, calls: Iterable[Call]) -> list[Any]:
        """Send all calls, then return the answers in their order, errors among them.

        firewalld works on one call at a time, but need not wait for us between two of them.
        """
        return self.collect(self.begin(calls))

    def begin(self, calls: Iterable[Call]) -> Sent:
        """Send all calls without waiting; ``collect`` returns the answers."""
        sent = []
        with _closed_connection_is_an_error():
            for call in calls:
                serial = next(self._connection.outgoing_serial)
                self._connection.send(call.message(), serial=serial)
                sent.append((serial, call))
        return sent

    def collect(self, sent: Sent) -> list[Any]:
        """Return the answers to these calls in their order, errors among them."""
        longest = max((call.deadline for _serial, call in sent), default=0.0)
        deadline = time.monotonic() + longest
        answers = []
        try:
            with _closed_connection_is_an_error():
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
            raise FirewalldUnavailable(messages.is_frozen(longest)) from error
        return answers


@contextmanager
def _closed_connection_is_an_error() -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise
    except OSError as error:
        raise FirewalldUnavailable(messages.bus_hung_up(error)) from error


def _answer(call: Call, reply: Message) -> Any:
    if reply.header.message_type is not MessageType.error:
        return reply.body[0] if reply.body else None
    name = reply.header.fields.get(HeaderFields.error_name, "")
    if name in _NOT_THERE:
        raise _not_running()
    return FirewalldRefused(call.method, str(reply.body[0]) if reply.body else name)


def _not_running() -> FirewalldUnavailable:
    if shutil.which("firewalld", path="/usr/sbin:/sbin:/usr/local/sbin") is None:
        return FirewalldUnavailable(messages.is_not_installed())
    unit = "/etc/systemd/system/firewalld.service"
    if os.path.realpath(unit) == "/dev/null":
        return FirewalldUnavailable(messages.is_masked(unit))
    return FirewalldUnavailable(messages.is_not_running())


def those_known(bus: Bus, names: Iterable[str], calls: Iterable[Call]) -> dict[str, Any]:
    """Make a call for each name, and return the answers for the names that firewalld knows."""
    return {
        name: answer
        for name, answer in zip(names, bus.call_all(calls))
        if not isinstance(answer, FirewalldRefused)
    }
