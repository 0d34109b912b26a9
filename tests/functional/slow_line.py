"""Delays what a router forwards: a line of half a second, in a host whose kernel has no netem.

``slow_line.py SECONDS`` reads packets from the device ``slow0`` and, after that time, hands them to
the kernel as if they had arrived on ``slow1``. It says ``ready`` when both are there.
"""

import collections
import fcntl
import os
import select
import struct
import sys
import time

# <linux/if_tun.h>
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


def tun(name):
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


def main(seconds):
    enters, leaves = tun("slow0"), tun("slow1")
    print("ready", flush=True)
    under_way = collections.deque()
    while True:
        wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        if select.select([enters], [], [], wait)[0]:
            under_way.append((time.monotonic() + seconds, os.read(enters, 65535)))
        while under_way and under_way[0][0] <= time.monotonic():
            os.write(leaves, under_way.popleft()[1])


if __name__ == "__main__":
    main(float(sys.argv[1]))
