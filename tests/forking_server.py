"""Starts Python programs in hosts by a fork, with what they import imported already.

An interpreter with firewalld's library or our engine in it takes a third of a second to start, and
the tests start some thousands. One server does for all hosts: what it forks enters the namespaces
of a host first.

``forking_server.py SOCKET MODULE…``: imports the modules and listens. A client sends one line of
JSON, ``[NAMESPACES, PROGRAM, ARGUMENTS]``, with the descriptors of the program's stdin, stdout and
stderr; it gets the program's return code, or the negative number of the signal that ended it.
``NAMESPACES`` are the files of ``/proc/PID/ns`` that are entered. The server ends when its stdin
does.
"""

import ctypes
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "_utils"))
LIBC = ctypes.CDLL(None, use_errno=True)


def serve(path, modules):
    for module in modules:
        importlib.import_module(module)
    # Nothing waits for those that answer.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path + ".new")
        listener.listen(64)
        # A client that finds it by its name finds one that listens.
        os.rename(path + ".new", path)
        while select.select([listener, sys.stdin], [], [])[0] == [listener]:
            connection, _address = listener.accept()
            if os.fork() == 0:
                listener.close()
                answer(connection)
            connection.close()


def answer(connection):
    """Run one program for a client; never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, descriptors, _flags, _address = socket.recv_fds(connection, 65536, 3)
    namespaces, name, arguments = json.loads(request)
    enter(namespaces)
    program = os.fork()
    if program == 0:
        connection.close()
        run(descriptors, name, arguments)
    _pid, status = os.waitpid(program, 0)
    connection.sendall(b"%d" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def enter(namespaces):
    """Enter these namespaces; of that of processes, the next child is the first inside."""
    # All are opened first: once one is entered, the paths of the others lead elsewhere.
    opened = [os.open(path, os.O_RDONLY) for path in namespaces]
    for descriptor in opened:
        if LIBC.setns(descriptor, 0):
            raise OSError(ctypes.get_errno(), "setns")
        os.close(descriptor)
    os.chdir("/")


def run(descriptors, program, arguments):
    """Become the program; never returns."""
    os.setsid()
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.argv = [program, *arguments]
    code = 0
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


serve(sys.argv[1], sys.argv[2:])
