"""How long the probes wait and how fast they send, each figure with its reason. Pure."""

# -- connections and datagrams --------------------------------------------------------------------

# Seconds to wait for an answer. Three tries fit in: the kernel repeats a SYN after one and after
# three seconds. It gives up a host on the same link that is down after 3.06 s.
PATIENCE = 3.4
# Packets that an address which answers elsewhere must leave unanswered in a row: patience has three
# or four SYNs and four datagrams. The kernel's own second SYN of the first try comes on top.
TRIES = 4
# Seconds between them, and for the last of them: more than a second together, in which a kernel
# that has used up its ICMP errors has one again. And as many round trips on a slow line.
TRY_PAUSE = 0.4
ROUND_TRIPS = 3
# Seconds for a question that is asked again, one by one: two tries.
PACED_PATIENCE = 2.2
# Seconds between two questions to a host that rejects: the pace of its ICMP errors, by IP version.
# (icmp_ratelimit; ICMPv6 scales it with the prefix of the route.)
PACE = {4: 1.05, 6: 0.3}
# Seconds between two questions that this host could not ask: its neighbour table was full.
PACE_OF_ERRORS = 0.01
# Rounds of asking again. A host with two addresses uses one rate limit for both.
PACED_ROUNDS = 8
# Seconds after which a datagram is repeated; a second try may meet a rate limit that has recovered.
DATAGRAM_REPEAT = 1.1
# Sockets at once, and descriptors that are left to the rest of the minion.
SOCKETS_AT_ONCE = 1024
DESCRIPTORS_LEFT_ALONE = 64
# Seconds for a new connection to be accepted and to acknowledge a probe: two tries of the handshake
# and, after a second of silence, three probes a second apart.
HELD_PATIENCE = 6.0
HELD_LOOK = 0.05

# -- echoes ---------------------------------------------------------------------------------------

# Seconds to wait for a reply, and for the reply to a second try. A reply takes milliseconds; the
# kernel gives up a host that does not answer ARP after 3.06 s, and reports it only then.
ECHO_PATIENCE = (1.1, 2.2)
# Sizes that are tried, all at once, if the full size is silent: common MTUs and tunnels in them.
ECHO_LADDER = (8950, 4000, 1500, 1492, 1480, 1450, 1420, 1400, 1350, 1280, 1200, 1000, 576)
# Seconds between two packets, so that a thousand of them are not a burst.
ECHO_PAUSE = 0.0005

# -- the recorder ---------------------------------------------------------------------------------

# Seconds within which nft must have created the table.
RECORDER_READY = 2.0
# Seconds for which a packet from a peer is remembered, and how many are at most.
REMEMBERED_SECONDS = 60
REMEMBERED_PACKETS = 65535
