# Removes everything k3sfw created, and nothing else. The schedule goes first, or it would reinstall
# the rest. Without a running minion, as in an image, it is in the file that the minion reads when
# it starts, as k3s.schedule wrote it.
{%- set pidfile = opts['pidfile'] %}
{%- set pid = salt['file.read'](pidfile) | trim if salt['file.file_exists'](pidfile) else '' %}
{%- set minion_runs = pid != '' and salt['file.file_exists']('/proc/' ~ pid ~ '/comm') %}
k3s_schedule_removed:
  schedule.absent:
    - names:
      - k3s_highstate
      - k3s_heal
      - k3s_check
    - offline: {{ not minion_runs }}

k3s_firewall_removed:
  k3sfw.absent:
    - require:
      - schedule: k3s_schedule_removed

k3s_metrics_removed:
  k3sfw.metrics_absent:
    - require:
      - k3sfw: k3s_firewall_removed

# The kernel keeps its current values: K3s needs them, and sets them itself when it starts.
k3s_settings_removed:
  file.absent:
    - names:
      - /etc/sysctl.d/90-k3sfw.conf
      - /etc/NetworkManager/conf.d/90-k3sfw.conf
      - /etc/NetworkManager/conf.d/zz-k3sfw.conf
      - /etc/systemd/networkd.conf.d/90-k3sfw.conf

k3s_firewall_recovery_removed:
  file.absent:
    - names:
      - /etc/systemd/system/firewalld.service.wants/k3sfw-recover.service
      - /etc/systemd/system/k3sfw-recover.service

# The history and the copies of our files go last: until then a failed removal can be undone.
k3s_firewall_history_removed:
  file.absent:
    - name: /var/lib/k3sfw
    - require:
      - k3sfw: k3s_firewall_removed
      - k3sfw: k3s_metrics_removed
