# What holds for the whole cluster unless k3s/site.sls says otherwise.
k3s:
  # A cluster is all minions that share the grain k3s_cluster.
  cluster: {{ grains.get("k3s_cluster", "default") | json }}
  # K3s's own defaults for --cluster-cidr, --service-cidr and --flannel-backend.
  # A dual-stack cluster adds its IPv6 networks; other backends are wireguard-native, host-gw, none.
  pod_cidrs: [10.42.0.0/16]
  service_cidrs: [10.43.0.0/16]
  flannel_backend: vxlan
  groups:
    # Who may use the manager application: everyone, until a site names networks.
    clients: [0.0.0.0/0, '::/0']
