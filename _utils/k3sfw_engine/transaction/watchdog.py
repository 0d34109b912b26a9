"""Who undoes a transaction when its run cannot: a timer of systemd, else a process of its own.

It needs neither Salt nor the engine: all that it runs is the copy of the undo program in the state
folder, under the Python that runs firewalld.
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

from k3sfw_engine.errors import EngineError
from k3sfw_engine.firewalld.interpreter import firewalld_python
from k3sfw_engine.host.atomic_files import replace_files
from k3sfw_engine.standalone.undo import main as undo_program
from k3sfw_engine.standalone.undo.main import ANY, BY_WATCHDOG
from k3sfw_engine.standalone.undo.record import RECORD
from k3sfw_engine.standalone.undo.run_program import ENVIRONMENT
from k3sfw_engine.transaction.journal import STATE, TRANSACTION, Journal, make_state_folder, writing

# A run is over in a second. One that is not after this time is frozen.
WITHIN = 30.0

_PROGRAM = STATE / "program"
_ARMED_WITHIN = 10.0
_UNDONE_WITHIN = 300.0

# The lock is free as soon as its holder is gone, however it ended. What the program prints then is
# for people who look at the log, which holds what the last one said.
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
    """Have the transaction undone if the run dies, or is not over in time; what disarms it.

    Raises ``EngineError`` if nobody can be made to watch.
    """
    command = [*_program(), journal.name, BY_WATCHDOG]
    try:
        if os.path.isdir("/run/systemd/system"):
            return _by_timer(f"k3sfw-undo-{journal.name}", seconds, command)
        return _by_process(lock, seconds, STATE / "watchdog.log", command)
    except (OSError, subprocess.SubprocessError) as error:
        raise EngineError(
            [
                f"no watchdog can be started that would undo a run which dies ({error}); nothing "
                "was changed. Fix: see that systemd-run, or sh and flock, work, then apply again"
            ]
        ) from error


def undo_now(by: str) -> list[str]:
    """Undo the transaction under way; sentences about what could not be undone.

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
            timeout=_UNDONE_WITHIN,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return [f"the undo program does not work ({error})"]
    if done.returncode == 0:
        left = (TRANSACTION / RECORD).exists()
        return ["the undo program says nothing, and has undone nothing"] if left else []
    return done.stdout.splitlines() or done.stderr.splitlines()[-1:]


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
        # What is sent to the job or its terminal is not for the watchdog.
        start_new_session=True,
    )

    def disarm() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    assert process.stdout is not None
    with process.stdout as said:
        ready = select.select([said], [], [], _ARMED_WITHIN)[0]
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
        # One that cannot be stopped, or has elapsed just now, finds nothing to undo.
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
        timeout=_ARMED_WITHIN,
    )


# -- the undo program -----------------------------------------------------------------------------


def _program() -> list[str]:
    """The command that runs the copy, up to the state folder."""
    return [str(_PROGRAM / "python"), "-I", str(_PROGRAM), str(STATE)]


def lay_out_program() -> bool:
    """Write a copy of the undo program, as it is in this version, into the state folder.

    At any moment a watchdog or a boot may start the one that lies there, which may be of another
    version. So the new one is written beside it; then one rename makes it the one that is started.

    Returns whether there was anything to write. Raises ``EngineError`` if it cannot be written.
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
    """The folder of this version of the program, named by what it holds, and its modules.

    They lie beside one that is imported: where it is missing, k3sfw refuses to load.
    """
    sources = sorted(Path(str(undo_program.__file__)).parent.glob("*.py"))
    modules = {source.name: source.read_bytes() for source in sources}
    digest = hashlib.sha256(repr(modules).encode()).hexdigest()
    return _PROGRAM / f"k3sfw_undo_{digest[:16]}", modules


def _replace(contents: dict[Path, bytes]) -> bool:
    """Replace those files that have not this content; whether any was replaced."""
    changed = {
        path: content
        for path, content in contents.items()
        if not path.exists() or path.read_bytes() != content
    }
    replace_files(changed, mode=0o600, folder_mode=0o700)
    return bool(changed)


def _link_interpreter() -> bool:
    """Link the Python that runs the program: what starts it at boot knows no other name of it."""
    link, interpreter = _PROGRAM / "python", firewalld_python() or sys.executable
    if link.is_symlink() and os.readlink(link) == interpreter:
        return False
    waiting = link.with_suffix(".new")
    waiting.unlink(missing_ok=True)
    waiting.symlink_to(interpreter)
    os.replace(waiting, link)
    return True


def _remove_others(package: Path) -> None:
    """Remove the program in other versions: with no transaction under way, none is needed."""
    for folder in _PROGRAM.iterdir():
        if folder.is_dir() and not folder.is_symlink() and folder != package:
            shutil.rmtree(folder)
