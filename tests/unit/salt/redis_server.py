"""A redis-server of its own for each test that wants one."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from lab.wait import wait_until


@contextmanager
def running() -> Iterator[redis.Redis]:
    """Provide a client of a new server, which listens on a socket and keeps nothing on disk."""
    # The name of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        socket = f"{folder}/socket"
        words = ("redis-server", "--port", "0", "--unixsocket", socket, "--save", "")
        server = subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL)
        try:
            wait_until(lambda: Path(socket).exists(), "redis-server does not listen", timeout=30)
            yield redis.Redis(unix_socket_path=socket)
        finally:
            server.terminate()
            server.wait()


def options(client: redis.Redis) -> dict[str, str]:
    """Return the settings of a master whose cache is in this server."""
    path = client.connection_pool.connection_kwargs["path"]
    return {"cache": "redis", "cache.redis.unix_socket_path": path}


def commands(client: redis.Redis) -> int:
    """Return how many commands the server has carried out."""
    return sum(each["calls"] for each in client.info("commandstats").values())
