# Everything of ours away, and nothing else: the schedule first, or it would put the rest back.
k3s_schedule_removed:
  schedule.absent:
    - name: k3s_highstate

k3s_firewall_removed:
  k3sfw.absent:
    - require:
      - schedule: k3s_schedule_removed

# The kernel keeps what it has now: K3s needs it, and sets it itself when it starts.
k3s_settings_removed:
  file.absent:
    - names:
      - /etc/sysctl.d/90-k3sfw.conf
      - /etc/NetworkManager/conf.d/90-k3sfw.conf
