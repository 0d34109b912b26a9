# Installs firewalld and applies the rules of the port tables.
#
# Without systemd (containers, the lab), it uses the firewalld that answers on D-Bus.
include:
  - k3s.requirements

{%- set systemd = grains.get('init') == 'systemd' %}
{%- if systemd %}

# Before the package: on Debian its installation starts firewalld, and firewalld without our rules
# would cut a live node off from its peers and this minion off from its master.
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

# Undoes a change that a power cut interrupted, before firewalld reads its files.
k3s_firewall_recovery:
  file.managed:
    - name: /etc/systemd/system/k3sfw-recover.service
    - source: salt://k3s/files/k3sfw-recover.service
    - mode: '0644'

# The link that systemctl enable creates. In test mode, service.enabled cannot predict that for a
# unit that does not exist yet.
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
