"""Run inside a host: starts Python programs by a fork, with what they import imported already.

An interpreter with firewalld's library or our engine in it is there in a third of a second, and
the tests start some thousands.

``forking_server.py SOCKET MODULE…``: imports the modules and listens. A client sends one line of
JSON, ``[PROGRAM, ARGUMENTS]``, with the descriptors of the program's stdin, stdout and stderr; it
gets the program's return code, or the negative number of the signal that ended it.
"""

import importlib
import json
import os
import runpy
import signal
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "_utils"))


def serve(path, modules):
    for module in modules:
        importlib.import_module(module)
    # Nobody waits for those that answer.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path + ".new")
        listener.listen(64)
        # Whoever finds it by its name finds one that listens.
        os.rename(path + ".new", path)
        while True:
            connection, _address = listener.accept()
            if os.fork() == 0:
                listener.close()
                answer(connection)
            connection.close()


def answer(connection):
    """Run one program for a client; never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, descriptors, _flags, _address = socket.recv_fds(connection, 65536, 3)
    program = os.fork()
    if program == 0:
        connection.close()
        run(descriptors, *json.loads(request))
    _pid, status = os.waitpid(program, 0)
    connection.sendall(b"%d" % os.waitstatus_to_exitcode(status))
    os._exit(0)


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
