"""The figures of healing, each with its reason."""

# How often the drop table is tried to be removed. Each attempt begins anew because a rule of the
# host changed meanwhile, and takes milliseconds.
ATTEMPTS = 50
