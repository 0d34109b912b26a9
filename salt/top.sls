# A highstate applies the whole of k3s to every node of a cluster.
base:
  'k3s_role:server':
    - match: grain
    - k3s
  'k3s_role:agent':
    - match: grain
    - k3s
