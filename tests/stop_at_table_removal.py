"""Stops a process as soon as a table of nftables is removed in this network namespace.

``stop_at_table_removal.py PID TABLE`` prints a line once it listens, and ends when it has stopped
the process. Asking nft again and again would miss a table that is back after some milliseconds.
"""

import os
import signal
import socket
import struct
import sys

# asm-generic/socket.h, linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h
SO_RCVBUFFORCE = 33
NETLINK_NETFILTER = 12
SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP = 1
NFNLGRP_NFTABLES = 7
NFT_MSG_DELTABLE = 10 << 8 | 2
HEADER = struct.Struct("=IHHII")


def messages(data):
    """The type and the content of each message."""
    while data:
        length, kind, *_rest = HEADER.unpack_from(data)
        yield kind, data[HEADER.size : length]
        data = data[(length + 3) & ~3 :]


def main(pid, table):
    """Listen until the table is removed, then stop the process."""
    name = table.encode() + b"\0"
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as events:
        events.bind((0, 0))
        events.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES)
        # A reload sends more events at once than the default holds.
        events.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
        events.settimeout(20)
        print("listening", flush=True)
        while True:
            for kind, content in messages(events.recv(1 << 20)):
                if kind == NFT_MSG_DELTABLE and name in content:
                    os.kill(pid, signal.SIGSTOP)
                    return


main(int(sys.argv[1]), sys.argv[2])
