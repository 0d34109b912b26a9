"""The figures of a transaction, each with its reason. Times are seconds."""

# A run is over in a second. One that is not after this time is frozen, and is undone.
RUN_DEADLINE = 30.0
# Added for each entry of an ipset: a call for so many takes firewalld longer, and a transaction
# makes a few of them.
RUN_DEADLINE_PER_ENTRY = 0.01

# A watchdog says within milliseconds that it watches.
WATCHDOG_ARMED = 10.0
# An undo may wait for a start and two reloads of firewalld.
UNDO_DEADLINE = 300.0

# Measured on two slow cores; a host's own figures, from its last changes, take their place.
SECONDS_OF_A_RELOAD = 0.5
SECONDS_OF_A_RULE = 0.03
# The kernel repeats the first packet of a connection after one second: a reload holds a connection
# up for so long. Kernels before 6.5 repeat it next after three: a client that waits so long loses
# no connection to a longer reload either.
HELD_UP_BY_A_RELOAD = 1.0
HELD_UP_AT_MOST = 3.0

# As many changes as an operator looks through; with ten thousand nodes each takes a megabyte.
HISTORY = 20

# A new connection to a master: the kernel repeats a lost SYN after one second.
CONNECTION_PATIENCE = 2.2
# A master that restarts just now is back after a second or two.
CONNECTION_TRIES = 3
CONNECTION_PAUSE = 1.0

# A master that does not answer a request within this time before the change proves nothing by its
# silence afterwards.
ANSWER_BEFORE = 8.0
# After the change all nodes ask at once, and each request waits for those before it. So the wait is
# so many times the answer before the change. Longer than the most, and a dead run is undone late.
ANSWER_FACTOR = 10.0
ANSWER_AT_LEAST = 5.0
ANSWER_AT_MOST = 30.0
# Nodes ask at a random moment within the time that the master took before, up to this: a master
# that answers at once needs no pause.
SPREAD_AT_MOST = 5.0
