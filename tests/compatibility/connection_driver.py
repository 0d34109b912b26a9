"""Runs on a host: answer connections to some ports, or open new ones again and again.

``answer PORT…`` accepts and closes. ``ask ADDRESS:PORT…`` opens a connection to each, ten times in
a second, until SIGTERM, and then prints for each address ``[[when, outcome], …]``.
"""

import asyncio
import errno
import json
import signal
import socket
import sys
import time

# A first packet is sent again after 1, 3 and 7 seconds.
EVERY, PATIENCE = 0.1, 8
# Of Linux's struct tcp_info: how many segments were sent again.
TOTAL_RETRANSMISSIONS = 100


async def answer(ports):
    async def close(_reader, writer):
        writer.close()

    servers = [await asyncio.start_server(close, None, port, backlog=512) for port in ports]
    print("at work", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


async def ask(targets):
    outcomes, under_way, stop = [[] for _ in targets], set(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    began = False
    while not stop.is_set():
        for target, found in zip(targets, outcomes):
            task = asyncio.create_task(connect(*target, found))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        if not began:
            await asyncio.wait(under_way, timeout=3)
            print("at work", flush=True)
            began = True
        await asyncio.sleep(EVERY)
    # A client that is dropped would send again for minutes.
    if under_way:
        await asyncio.wait(under_way, timeout=PATIENCE)
    print(json.dumps(outcomes), flush=True)


async def connect(address, port, found):
    at = time.time()
    with socket.socket() as one:
        one.setblocking(False)
        try:
            connected = asyncio.get_running_loop().sock_connect(one, (address, port))
            await asyncio.wait_for(connected, PATIENCE)
            info = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
            again = int.from_bytes(info[TOTAL_RETRANSMISSIONS:], sys.byteorder)
            outcome = "again" if again else "open"
        except asyncio.TimeoutError:
            outcome = "silence"
        except OSError as error:
            outcome = errno.errorcode.get(error.errno, type(error).__name__)
    found.append([at, outcome])


part, words = sys.argv[1], sys.argv[2:]
if part == "answer":
    asyncio.run(answer([int(port) for port in words]))
else:
    pairs = [word.split(":") for word in words]
    asyncio.run(ask([(address, int(port)) for address, port in pairs]))
