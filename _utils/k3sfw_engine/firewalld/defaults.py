"""How long firewalld may take, in seconds, each figure with its measurement; and a few limits."""

from __future__ import annotations

# firewalld answers in milliseconds. If it takes longer it is frozen, or busy with a change of
# hundreds of thousands of entries.
CALL_SECONDS = 8.0

# From the start of its process to its name on the bus. Measured: half a second, and five seconds on
# a busy host.
START_SECONDS = 15.0
START_POLL = 0.1

# Measured: 1.2 s with 10,000 entries in ipsets, more than 25 s with 100,000.
RELOAD_SECONDS = 120.0

# On top of a call's time, for each entry of an ipset that is filled in one call.
SECONDS_PER_ENTRY = 0.002

# On top of a call's time, for each rule. Measured on a host of two slow and busy cores: 0.03 s with
# 80 rules, 0.1 to 0.3 s with 1200.
SECONDS_PER_RULE = 0.5

# A trial start takes 0.3 s, and 1.6 s with 10,000 entries. One that takes longer is stuck, or its
# configuration is so large that the reload itself outlasts every client.
TRIAL_SECONDS = 20.0

# firewall-offline-cmd takes as long, as it makes no rules; a slow emulation of another processor,
# under which images are built, takes ten times as long.
CHECK_SECONDS = 20.0

# The kernel has the entries of an ipset this long after firewalld has said so, at the latest.
# Measured with 2.5: a few milliseconds.
SETTLING_SECONDS = 3.0
SETTLING_POLL = 0.05

# Up to this many ipsets are listed one by one; the whole table takes nft as long as three of them.
FEW_IPSETS = 4

# firewalld notices a new file after five seconds; it is asked again in the meantime.
NOTICE_SECONDS = 8.0
NOTICE_POLL = 0.25

# As many zones, policies and ipsets as a host may have with room to spare; each is a few kilobytes.
FILES_KNOWN = 256
