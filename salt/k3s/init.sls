# All that a node of a K3s cluster should have. On a node on which K3s does not run yet, and beside
# one that is down, the routes are a warning, which fails nothing.
include:
  - k3s.requirements
  - k3s.firewall
  - k3s.routes
  - k3s.schedule
