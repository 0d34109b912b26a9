"""Something that accepts connections on ports of a host."""

import subprocess
import sys
from contextlib import contextmanager

# Without site packages, which would take most of the time of its start.
PYTHON = (sys.executable, "-I", "-S")
ACCEPT = """
import selectors, socket, sys
waiting = selectors.DefaultSelector()
for port in sys.argv[1:]:
    waiting.register(socket.create_server(("", int(port))), selectors.EVENT_READ)
print("listening", flush=True)
while True:
    for key, _events in waiting.select():
        key.fileobj.accept()[0].close()
"""


@contextmanager
def listening(host, *ports):
    """Accept connections on these ports for the block."""
    command = [*PYTHON, "-c", ACCEPT, *map(str, ports)]
    with host.popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == "listening\n"
            yield
        finally:
            process.kill()
