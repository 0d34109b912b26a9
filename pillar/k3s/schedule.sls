# How often a node brings itself back in step: every interval seconds, each node up to splay
# seconds later, so that not all of them ask the master at once. Every heal seconds it looks whether
# the firewall needs to be mended, which takes milliseconds and no master.
k3s:
  schedule:
    enabled: true
    interval: 600
    splay: 60
    heal: 120
