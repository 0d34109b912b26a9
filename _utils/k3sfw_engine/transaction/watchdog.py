"""Undoes a transaction whose process died: a timer of systemd, or a process of its own.

It needs neither Salt nor the engine: it runs the copy of the undo program in the state folder,
under the Python that runs firewalld.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from k3sfw_engine.errors import EngineError, Problem
from k3sfw_engine.firewalld.interpreter import firewalld_python
from k3sfw_engine.host.atomic_files import replace_files
from k3sfw_engine.host.image import is_image
from k3sfw_engine.standalone.undo import main as undo_program
from k3sfw_engine.standalone.undo.main import ANY, BY_WATCHDOG
from k3sfw_engine.standalone.undo.record import RECORD
from k3sfw_engine.standalone.undo.run_program import ENVIRONMENT
from k3sfw_engine.transaction import messages
from k3sfw_engine.transaction.defaults import UNDO_DEADLINE, WATCHDOG_ARMED
from k3sfw_engine.transaction.journal import STATE, TRANSACTION, Journal, make_state_folder, writing

_PROGRAM = STATE / "program"

# The lock is free as soon as its holder is gone, however it ended. The log has what the last
# program printed.
_WATCH = """\
lock=$1 seconds=$2 log=$3
shift 3
echo armed
exec >/dev/null 2>&1
flock --timeout "$seconds" "$lock" true
(: >"$log") && exec "$@" >"$log" 2>&1
exec "$@"
"""
_MAIN = """\
import sys

from {package}.main import main

sys.exit(main(sys.argv[1:]))
"""


def arm(journal: Journal, lock: Path, seconds: float) -> Callable[[], None]:
    """Arm the watchdog for a run that dies, or is not over in time; return what disarms it.

    Raises ``EngineError`` if no watchdog can be started.
    """
    command = [*_program(), journal.name, BY_WATCHDOG]
    try:
        # In an image, systemd is that of the host which builds it.
        if os.path.isdir("/run/systemd/system") and not is_image():
            return _by_timer(f"k3sfw-undo-{journal.name}", seconds, command)
        return _by_process(lock, seconds, STATE / "watchdog.log", command)
    except (OSError, subprocess.SubprocessError) as error:
        raise EngineError([messages.no_watchdog(error)]) from error


def undo_now(by: str) -> list[Problem]:
    """Undo the transaction under way; return what could not be undone.

    The caller holds the lock.
    """
    try:
        done = subprocess.run(
            [*_program(), ANY, by, "--holding"],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=ENVIRONMENT,
            timeout=UNDO_DEADLINE,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return [messages.undo_program_fails(error)]
    if done.returncode == 0:
        left = (TRANSACTION / RECORD).exists()
        return [messages.undo_program_did_nothing()] if left else []
    return list(map(Problem, done.stdout.splitlines() or done.stderr.splitlines()[-1:]))


def _by_process(
    lock: Path, seconds: float, log: Path, command: Sequence[str]
) -> Callable[[], None]:
    process = subprocess.Popen(
        ["sh", "-c", _WATCH, "k3sfw-watchdog", str(lock), f"{seconds:.0f}", str(log), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        env=ENVIRONMENT,
        # Signals to the job or its terminal must not reach the watchdog.
        start_new_session=True,
    )

    def disarm() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    assert process.stdout is not None
    with process.stdout as said:
        ready = select.select([said], [], [], WATCHDOG_ARMED)[0]
        if not ready or said.readline() != b"armed\n" or process.poll() is not None:
            disarm()
            raise OSError("it does not say that it watches")
    return disarm


def _by_timer(unit: str, seconds: float, command: Sequence[str]) -> Callable[[], None]:
    options = [f"--unit={unit}", f"--on-active={seconds:.0f}"]
    accuracy = "--timer-property=AccuracySec=1s"
    _call("systemd-run", "--quiet", "--collect", *options, accuracy, "--", *command)
    _call("systemctl", "--quiet", "is-active", f"{unit}.timer")

    def disarm() -> None:
        # A timer that cannot be stopped, or elapsed just now, finds nothing to undo.
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            _call("systemctl", "--quiet", "stop", f"{unit}.timer")

    return disarm


def _call(*command: str) -> None:
    subprocess.run(
        command,
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=ENVIRONMENT,
        timeout=WATCHDOG_ARMED,
    )


# -- the undo program -----------------------------------------------------------------------------


def _program() -> list[str]:
    """The command that runs the copy, up to the name of the state folder."""
    return [str(_PROGRAM / "python"), "-I", str(_PROGRAM), str(STATE)]


def lay_out_program() -> bool:
    """Copy the undo program of this version into the state folder; return whether that was needed.

    A watchdog or a boot may start the present program at any moment, and it may be of another
    version. So the new one is written beside it; then one rename makes it the one that is started.

    Raises ``EngineError`` if it cannot be written.
    """
    with writing():
        make_state_folder()
        package, modules = _modules_of_program()
        written = [
            _replace({package / name: content for name, content in modules.items()}),
            _link_interpreter(),
            _replace({_PROGRAM / "__main__.py": _MAIN.format(package=package.name).encode()}),
        ]
        if not (TRANSACTION / RECORD).exists():
            _remove_others(package)
    return any(written)


def _modules_of_program() -> tuple[Path, dict[str, bytes]]:
    """The folder of this version of the program, named by its content, and its modules.

    The engine imports one of them: if that is missing, k3sfw refuses to load.
    """
    sources = sorted(Path(str(undo_program.__file__)).parent.glob("*.py"))
    modules = {source.name: source.read_bytes() for source in sources}
    digest = hashlib.sha256(repr(modules).encode()).hexdigest()
    return _PROGRAM / f"k3sfw_undo_{digest[:16]}", modules


def _replace(contents: dict[Path, bytes]) -> bool:
    """Replace the files that differ; return whether any did."""
    changed = {
        path: content
        for path, content in contents.items()
        if not path.exists() or path.read_bytes() != content
    }
    replace_files(changed, mode=0o600, folder_mode=0o700)
    return bool(changed)


def _link_interpreter() -> bool:
    """Link the Python that runs the program: the unit at boot knows it by this name only."""
    link, interpreter = _PROGRAM / "python", firewalld_python() or sys.executable
    if link.is_symlink() and os.readlink(link) == interpreter:
        return False
    waiting = link.with_suffix(".new")
    waiting.unlink(missing_ok=True)
    waiting.symlink_to(interpreter)
    os.replace(waiting, link)
    return True


def _remove_others(package: Path) -> None:
    """Remove the programs of other versions; with no transaction under way, none is needed."""
    for folder in _PROGRAM.iterdir():
        if folder.is_dir() and not folder.is_symlink() and folder != package:
            shutil.rmtree(folder)
