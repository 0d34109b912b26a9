# Writes metrics for Prometheus where k3s:metrics in pillar switches them on, and else removes them.
# node_exporter itself, with its textfile collector, is the operator's.
include:
  - k3s.requirements

k3s_metrics:
  k3sfw.metrics_managed:
    - require:
      - sls: k3s.requirements
