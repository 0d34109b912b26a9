"""Deadlines and pauses of the undo program, in seconds, each with its reason."""

# A call of D-Bus, or a program: each answers within milliseconds where nothing is wrong.
ANSWER = 8.0
# Added for each rule or port of a call: measured 0.1 to 0.3 s with 1200 rules on a busy host.
ANSWER_PER_ITEM = 0.5
# A start of firewalld takes one or two seconds.
FIREWALLD_START = 30.0
# Measured: 1.2 s with 10,000 entries in ipsets, more than 25 s with 100,000.
RELOAD = 120.0
# iptables-restore waits as long for the lock of kube-proxy's own calls, in whole seconds.
IPTABLES_LOCK = 5

# The watchdog goes on as long while firewalld cannot be reached; then the next run takes over.
PATIENCE = 900.0
PAUSE = 2.0
# The watchdog waits as long for the lock of a run that it may not end.
LOCK = 60.0
# How soon the watchdog sees that a change was confirmed, or may not be any more.
CONFIRMATION_POLL = 0.5
# How soon a waiting program sees that the lock is free, or firewalld there.
POLL = 0.05
