# A minion gets what its role needs, and never a row that is not its own. k3s.ports comes last:
# it also merges the site's own file, k3s/site.sls, over all of the others.
base:
  'k3s_role:server':
    - match: grain
    - k3s.cluster
    - k3s.nodes
    - k3s.schedule
    - k3s.ports
  'k3s_role:agent':
    - match: grain
    - k3s.cluster
    - k3s.nodes
    - k3s.schedule
    - k3s.ports
