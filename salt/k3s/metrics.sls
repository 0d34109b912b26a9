# Writes metrics for Prometheus where k3s:metrics in pillar switches them on, and else removes them.
# node_exporter itself, with its textfile collector, is the operator's.
# In an image (a chroot, or with SYSTEMD_OFFLINE=1) nothing runs that they could tell of.
include:
  - k3s.requirements
{%- if not grains.get('k3s_image', False) %}

k3s_metrics:
  k3sfw.metrics_managed:
    - require:
      - sls: k3s.requirements
{%- endif %}
