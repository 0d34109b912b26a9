"""Starts a second firewalld in isolation, to see whether a configuration loads.

``firewalld/trial_start.py`` runs it; JSON goes in and out. It imports firewalld's library, which
belongs to the system's Python and not to Salt's, so it must not import anything of ours, and must
be valid for Python 3.6, as RHEL 8 has it. It works with firewalld 0.9 to 2.5.

Each trial has its own network, in which the rules are really made; its own view of the file system,
with a copy of the configuration and an empty ``/run`` (no bus, lock or temporary files of the
host); and its own process numbers, so that all of it ends with its first process, which dies with
the process that started the trial.
"""

import base64
import ctypes
import json
import os
import select
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

from firewall import config
from firewall.core import modules
from firewall.core.fw import Firewall
from firewall.core.fw_direct import FirewallDirect
from firewall.core.io import functions as on_disk
from firewall.core.io.io_object import IO_Object
from firewall.core.prog import runProg

# From linux/sched.h, linux/mount.h and linux/prctl.h; the os module has them from 3.12 on.
_NEW_MOUNTS, _NEW_PROCESSES, _NEW_NETWORK = 0x00020000, 0x20000000, 0x40000000
# What the host unmounts goes here too, so that nothing of it is kept busy; nothing goes back.
_RECEIVING = 0x4000 | 0x80000
_PARENT_DEATH = 1

_LIBC = ctypes.CDLL(None, use_errno=True)
_COPY = "/run/firewalld-configuration"


def main() -> None:
    parent = int(sys.argv[1])
    _die_with_parent()
    if os.getppid() != parent:
        return
    # Standard output is for the answer; what the library prints goes elsewhere.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    asked = json.load(sys.stdin)
    folder, changes = asked["folder"], asked["changes"]
    trials = {"candidate": _apart(lambda: _trial(folder, changes))}
    if not hasattr(config, "FIREWALLD_POLICIES"):
        # Before 0.9 files of policies are not read, whatever is in them.
        trials["candidate"] = {"no_policies": True}
    elif not trials["candidate"].get("starts"):
        # What is at fault: the changes, the present configuration, or this namespace?
        trials["present"] = _apart(lambda: _trial(folder, {}))
        trials["stock"] = _apart(lambda: _trial(folder, None))
    json.dump(trials, answer)
    answer.close()
    # The answer is out. Tidying up all that firewalld's library imports would take a tenth more.
    os._exit(0)


# -- apart from the host --------------------------------------------------------------------------


def _apart(work: "Callable[[], dict[str, Any]]") -> "dict[str, Any]":
    """Do the work in namespaces and return its answer; ``{"unable": why}`` if that fails."""
    reading, writing = os.pipe()
    above = os.getpid()
    child = os.fork()
    if child == 0:
        _never_return(lambda: _separate(above, work, writing), writing)
    os.close(writing)
    with os.fdopen(reading) as file:
        text = file.read()
    os.waitpid(child, 0)
    answer: dict[str, Any] = {"unable": "it ended without an answer"}
    if text:
        answer = json.loads(text)
    return answer


def _separate(above: int, work: "Callable[[], dict[str, Any]]", writing: int) -> None:
    _die_with_parent()
    if os.getppid() != above:
        return
    _checked(_LIBC.unshare(_NEW_MOUNTS | _NEW_PROCESSES | _NEW_NETWORK), "make namespaces")
    alive, held = os.pipe()
    first = os.fork()
    if first == 0:
        os.close(held)
        _die_with_parent()
        if select.select([alive], [], [], 0)[0]:
            os._exit(1)  # The process above had died before.
        _never_return(lambda: _say(writing, work()), writing)
    os.waitpid(first, 0)


def _never_return(work: "Callable[[], None]", writing: int) -> None:
    """Work and exit, in a child: the code after the call is for the process above alone."""
    try:
        work()
    except BaseException as error:
        _say(writing, {"unable": _one_line(error)})
    finally:
        os._exit(0)


def _say(writing: int, answer: "dict[str, Any]") -> None:
    with os.fdopen(os.dup(writing), "w") as output:
        json.dump(answer, output)


def _die_with_parent() -> None:
    _checked(_LIBC.prctl(_PARENT_DEATH, signal.SIGKILL, 0, 0, 0), "be bound to its parent")


def _checked(result: int, what: str) -> None:
    if result != 0:
        raise OSError(f"cannot {what}: {os.strerror(ctypes.get_errno())}")


# -- the trial ------------------------------------------------------------------------------------


def _trial(folder: str, changes: "Mapping[str, str | None] | None") -> "dict[str, Any]":
    """Start firewalld with a copy of the folder; with ``None``, on its stock configuration."""
    _hide_the_host()
    if changes is None:
        os.mkdir(_COPY)
        settings = os.path.join(folder, "firewalld.conf")
        if os.path.exists(settings):
            shutil.copy(settings, _COPY)
    else:
        shutil.copytree(folder, _COPY, ignore_dangling_symlinks=True)
        _lay_over(folder, changes)
    _leave_interfaces_out()
    config.set_system_config_paths(_COPY)
    # A missing kernel module is found by a dry run; none is loaded.
    modules.modules.load_module = lambda self, module: runProg(
        self._load_command, ["--dry-run", module]
    )
    modules.modules.unload_module = lambda self, module: (0, "")
    at_direct, lacks_ipsets = _notice_direct_rules(), _notice_lack_of_ipsets()
    firewall = Firewall()
    try:
        firewall.start()
        # 0.9 starts without the files that it cannot load, and so without their zones.
        check = getattr(on_disk, "check_on_disk_config", None) or on_disk.check_config
        check(firewall)
    except (Exception, SystemExit) as error:
        return {
            "starts": False,
            "reason": _one_line(error),
            "file": _file_of(error, folder),
            "direct": bool(at_direct),
            "no_ipsets": any((*lacks_ipsets, _lacks_ipsets(firewall))),
        }
    return {"starts": True}


def _hide_the_host() -> None:
    _checked(_LIBC.mount(None, b"/", None, _RECEIVING, None), "part the mounts")
    for run in {os.path.realpath("/run"), os.path.realpath("/var/run")}:
        result = _LIBC.mount(b"tmpfs", run.encode(), b"tmpfs", 0, b"mode=0755")
        _checked(result, f"hide {run}")
    os.makedirs(config.FIREWALLD_TEMPDIR, mode=0o750, exist_ok=True)


def _lay_over(folder: str, changes: "Mapping[str, str | None]") -> None:
    for path, content in changes.items():
        target = os.path.join(_COPY, os.path.relpath(path, folder))
        if os.path.lexists(target):
            os.unlink(target)
        if content is not None:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "wb") as file:
                file.write(base64.b64decode(content))


def _leave_interfaces_out() -> None:
    """Turn the flowtable off: it alone needs the host's interfaces (NftablesFlowtable, 2.2)."""
    settings = os.path.join(_COPY, "firewalld.conf")
    if os.path.exists(settings):
        with open(settings, errors="surrogateescape") as file:
            lines = [line for line in file if not line.startswith("NftablesFlowtable=")]
        with open(settings, "w", errors="surrogateescape") as file:
            file.writelines(lines)


def _notice_direct_rules() -> "list[bool]":
    """Return a list that is no longer empty once direct rules are made, which happens last."""
    seen: list[bool] = []
    make = FirewallDirect.apply_direct

    def apply_direct(self: Any, *arguments: Any) -> Any:
        if self.has_configuration():
            seen.append(True)
        return make(self, *arguments)

    FirewallDirect.apply_direct = apply_direct
    return seen


def _notice_lack_of_ipsets() -> "list[bool]":
    """Return a list that tells whether it could use none, each time that it forgets what it can."""
    seen: list[bool] = []
    clean_up = Firewall.cleanup

    def cleanup(self: Any) -> None:
        seen.append(_lacks_ipsets(self))
        clean_up(self)

    Firewall.cleanup = cleanup
    return seen


def _lacks_ipsets(firewall: Firewall) -> bool:
    # 2.5 fails at the missing program without noting that no type of ipset is usable.
    needs_program = not firewall.nftables_enabled
    return not firewall.ipset_supported_types or (
        needs_program and not os.path.exists(config.COMMANDS["ipset"])
    )


# -- what went wrong ------------------------------------------------------------------------------


def _one_line(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return "firewalld does not start with its stock configuration either"
    # nft repeats its whole input.
    text = str(error).split("JSON blob:")[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(dict.fromkeys(lines))[:500] or type(error).__name__


def _file_of(error: BaseException, folder: str) -> str:
    """The file that firewalld read when it gave up: the innermost object in the traceback."""
    found = ""
    trace = error.__traceback__
    while trace is not None:
        for name, value in trace.tb_frame.f_locals.items():
            path = ""
            if isinstance(value, IO_Object):
                path = os.path.join(getattr(value, "path", ""), getattr(value, "filename", ""))
            elif isinstance(value, str) and name in ("policy", "zone"):
                subfolder = {"policy": "policies", "zone": "zones"}[name]
                path = os.path.join(_COPY, subfolder, value + ".xml")
            if path.startswith(_COPY) and os.path.isfile(path):
                found = os.path.join(folder, os.path.relpath(path, _COPY))
        trace = trace.tb_next
    return found


if __name__ == "__main__":
    main()
