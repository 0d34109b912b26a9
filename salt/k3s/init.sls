# Everything that a node of a K3s cluster should have. While K3s is not running on a node, or a peer
# is down, the routes are a warning, which fails no state.
#
# An image gets what is a file: the kernel, the routes and the metrics there are those of the host
# that builds it.
include:
  - k3s.requirements
  - k3s.firewall
{%- if not grains.get('k3s_image', False) %}
  - k3s.routes
  - k3s.metrics
{%- endif %}
  - k3s.schedule
