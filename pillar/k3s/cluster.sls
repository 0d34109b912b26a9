# Settings of the whole cluster. k3s/site.sls overrides them.
k3s:
  # All minions with the same value of the grain k3s_cluster form a cluster.
  cluster: {{ grains.get("k3s_cluster", "default") | json }}
  # K3s's own defaults for --cluster-cidr, --service-cidr and --flannel-backend.
  # A dual-stack cluster adds its IPv6 networks. Other backends: wireguard-native, host-gw, none.
  pod_cidrs: [10.42.0.0/16]
  service_cidrs: [10.43.0.0/16]
  flannel_backend: vxlan
  groups:
    # The clients of the manager application: everyone, until the site names networks.
    clients: [0.0.0.0/0, '::/0']
