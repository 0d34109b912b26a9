# A minion gets the pillar of its role and never the rows of the other role. k3s.ports comes last
# because it also merges the site's own file, k3s/site.sls, over all the others.
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
