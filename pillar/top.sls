# A minion gets the pillar of its role and never the rows of the other role.
base:
  'k3s_role:server':
    - match: grain
    - k3s.nodes
    - k3s.ports
  'k3s_role:agent':
    - match: grain
    - k3s.nodes
    - k3s.ports
