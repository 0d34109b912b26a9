# Everything that a node of a K3s cluster should have. While K3s is not running on a node, or a peer
# is down, the routes are a warning, which fails no state.
#
# An image gets what is a file: k3s.routes and k3s.metrics do nothing there.
include:
  - k3s.requirements
  - k3s.firewall
  - k3s.routes
  - k3s.metrics
  - k3s.schedule
