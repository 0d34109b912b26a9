"""Send packets to peers, and record packets in the kernel; ``checks`` judges what they mean.

connect          ask ports by new connections and datagrams, many at once
silence          when it is known before all patience is over
held_connections connections that are held until the peer's kernel acknowledges a probe
echo             ICMP echoes of a given size, which may not be fragmented
packet_recorder  an nft table that records which packets left, arrived and passed
defaults         how long to wait and how fast to send, and why
"""
