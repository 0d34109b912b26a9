# Everything of ours away, and nothing else: the schedule first, or it would put the rest back.
k3s_schedule_removed:
  schedule.absent:
    - names:
      - k3s_highstate
      - k3s_heal

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

k3s_firewall_recovery_removed:
  file.absent:
    - names:
      - /etc/systemd/system/firewalld.service.wants/k3sfw-recover.service
      - /etc/systemd/system/k3sfw-recover.service

# Last, as it could undo the removal until then: the history, and the copies of our files.
k3s_firewall_history_removed:
  file.absent:
    - name: /var/lib/k3sfw
    - require:
      - k3sfw: k3s_firewall_removed
