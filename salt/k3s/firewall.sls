# Installs firewalld and applies the rules of the port tables.
#
# Without systemd (containers, the lab), it uses the firewalld that answers on D-Bus. In an image (a
# chroot, or with SYSTEMD_OFFLINE=1) it writes firewalld's files, and nothing is started.
include:
  - k3s.requirements

{%- set image = grains.get('k3s_image', False) %}
{%- set systemd = grains.get('init') == 'systemd' and not image %}
{%- if systemd or image %}

# Before the package: on Debian its installation starts firewalld, and firewalld without our rules
# would cut a live node off from its peers and this minion off from its master. In an image nothing
# is started, and the package validates the rules.
k3s_firewall_prepared:
  k3sfw.prepared:
    - require:
      - sls: k3s.requirements
{%- if image %}
      - pkg: k3s_firewalld_package
{%- endif %}

k3s_firewalld_package:
  pkg.installed:
    - pkgs:
      - firewalld
      - nftables
{%- if grains.get('os_family') == 'Debian' %}
      # /etc/protocols, which a minimal system lacks, and without which firewalld does not start.
      - netbase
      # Debian only recommends it. firewalld 0.9, and each with the iptables backend, needs it.
      - ipset
{%- endif %}
    - require:
{%- if image %}
      - sls: k3s.requirements
{%- else %}
      - k3sfw: k3s_firewall_prepared
{%- endif %}

k3s_firewalld_service:
{%- if image %}
  # Salt knows no service without a running systemd; systemctl enables it in the files.
  cmd.run:
    - name: systemctl enable firewalld
    - unless: systemctl is-enabled --quiet firewalld
{%- else %}
  service.running:
    - name: firewalld
    - enable: True
{%- endif %}
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
{%- if not image %}

k3s_firewall:
  k3sfw.managed:
    - prepared: {{ systemd }}
    - require:
      - sls: k3s.requirements
{%- if systemd %}
      - service: k3s_firewalld_service
      - file: k3s_firewall_recovery_enabled
{%- endif %}
{%- endif %}
