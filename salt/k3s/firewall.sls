# The rules of the port tables on this node.
#
# Where no service manager runs (containers, the lab), a firewalld that answers on D-Bus is enough.
include:
  - k3s.requirements

{%- set systemd = grains.get('init') == 'systemd' %}
{%- if systemd %}

# Before the package: installing it starts firewalld on Debian, and a start on a live node with no
# rules would cut off its peers, and this minion off its master.
k3s_firewall_prepared:
  k3sfw.prepared:
    - require:
      - sls: k3s.requirements

k3s_firewalld_package:
  pkg.installed:
    - pkgs:
      - firewalld
      - nftables
    - require:
      - k3sfw: k3s_firewall_prepared

k3s_firewalld_service:
  service.running:
    - name: firewalld
    - enable: True
    - require:
      - pkg: k3s_firewalld_package

# What a power cut leaves of a change is undone before firewalld reads it.
k3s_firewall_recovery:
  file.managed:
    - name: /etc/systemd/system/k3sfw-recover.service
    - source: salt://k3s/files/k3sfw-recover.service
    - mode: '0644'

# As systemctl enable makes it; a dry run could not foresee that for a unit which is not there yet.
k3s_firewall_recovery_enabled:
  file.symlink:
    - name: /etc/systemd/system/firewalld.service.wants/k3sfw-recover.service
    - target: /etc/systemd/system/k3sfw-recover.service
    - makedirs: True
    - require:
      - file: k3s_firewall_recovery
{%- endif %}

k3s_firewall:
  k3sfw.managed:
    - prepared: {{ systemd }}
    - require:
      - sls: k3s.requirements
{%- if systemd %}
      - service: k3s_firewalld_service
      - file: k3s_firewall_recovery_enabled
{%- endif %}
