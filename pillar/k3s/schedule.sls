# How often a node brings itself back in step: every interval seconds, each node up to splay
# seconds later, so that not all of them ask the master at once.
k3s:
  schedule:
    enabled: true
    interval: 600
    splay: 60
