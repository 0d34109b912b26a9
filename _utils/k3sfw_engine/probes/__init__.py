"""Packets sent to peers, and packets recorded in the kernel; what they mean is judged in checks.

connect          new connections and datagrams to ports, many at once
echo             ICMP echoes of a given size, which may not be fragmented
packet_recorder  an nft table that records which packets left, arrived and passed
defaults         how long to wait and how fast to send, and why
"""
