# All that a node of a K3s cluster should have.
include:
  - k3s.requirements
  - k3s.firewall
  - k3s.schedule
