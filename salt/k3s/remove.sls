# Everything of ours away, and nothing else: the schedule first, or it would put the rest back.
k3s_schedule_removed:
  schedule.absent:
    - name: k3s_highstate

k3s_firewall_removed:
  k3sfw.absent:
    - require:
      - schedule: k3s_schedule_removed
