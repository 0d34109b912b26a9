# What formulas call it. The states are those of k3s.remove.
include:
  - k3s.remove
