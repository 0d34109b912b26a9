# A node runs a highstate every interval seconds, delayed by a random time of up to splay seconds so
# that the nodes do not all ask the master at once. Every heal seconds it looks for damage to the
# firewall and heals it; that takes milliseconds and needs no master.
k3s:
  schedule:
    enabled: true
    interval: 600
    splay: 60
    heal: 120
