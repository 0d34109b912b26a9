# A highstate gives every node of a cluster all that it should have.
base:
  'k3s_role:server':
    - match: grain
    - k3s
  'k3s_role:agent':
    - match: grain
    - k3s
