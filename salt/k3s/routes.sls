# Sets the kernel settings that pod traffic needs, as far as that is safe, then checks the rest.
# Routes belong to flannel and to the operator: they are checked here and never created.
#
# In an image (a chroot, or with SYSTEMD_OFFLINE=1) nothing is done: the kernel and the routes there
# are those of the host that builds it.
include:
  - k3s.requirements
{%- if not grains.get('k3s_image', False) %}

{%- set file = '/etc/sysctl.d/90-k3sfw.conf' %}
{%- set sys = '/proc/sys/net/' %}
{%- macro now(path) %}
{%-   if salt['file.file_exists'](sys ~ path) %}{{ salt['file.read'](sys ~ path) | trim }}{% endif %}
{%- endmacro %}
{%- set pods = (pillar.get('k3s') or {}).get('pod_cidrs')
        or (pillar.get('k3sfw_defaults') or {}).get('pod_cidrs') or ['10.42.0.0/16'] %}
{%- set ipv6 = ':' in pods | join(' ') %}
{%- set links = [] %}
{%- for name, link in salt['network.interfaces']().items() %}
{#-   Interfaces of network plugins get their settings from these; a test compares the prefixes. #}
{%-   if link.get('inet') and not name.startswith(('lo', 'docker', 'veth', 'cali', 'lxc', 'azv',
        'eni', 'antrea-', 'bpfin', 'bpfout', 'cilium', 'cni', 'datapath', 'egress.calico', 'flannel',
        'genev_sys', 'kube-', 'nodelocaldns', 'ovn', 'tunl', 'vxlan.calico', 'vxlan-v6.calico',
        'weave', 'wg-v6.cali', 'wireguard.cali')) %}
{%-     do links.append(name) %}
{%-   endif %}
{%- endfor %}
{%- set settings = [('net.ipv4.ip_forward', 1)] %}
{#- These exist only if br_netfilter is loaded; K3s loads it. #}
{%- if now('bridge/bridge-nf-call-iptables') %}
{%-   do settings.append(('net.bridge.bridge-nf-call-iptables', 1)) %}
{%- endif %}
{%- if ipv6 %}
{#-   A kernel that starts forwarding drops the routes of router advertisements if accept_ra is 1. #}
{%-   for name in links | sort if now('ipv6/conf/all/forwarding') == '0' %}
{%-     if now('ipv6/conf/' ~ name ~ '/accept_ra') == '1' %}
{%-       do settings.append(('net.ipv6.conf.' ~ name | replace('.', '/') ~ '.accept_ra', 2)) %}
{%-     endif %}
{%-   endfor %}
{%-   do settings.append(('net.ipv6.conf.all.forwarding', 1)) %}
{%-   if now('bridge/bridge-nf-call-ip6tables') %}
{%-     do settings.append(('net.bridge.bridge-nf-call-ip6tables', 1)) %}
{%-   endif %}
{%- endif %}
{#-
  Strict reverse-path filtering drops packets that arrive on another link than the answer would
  take. A node with a single link keeps its setting. The kernel uses the larger of the two values.
#}
{%- for name in links | sort if links | length > 1 %}
{%-   if [now('ipv4/conf/all/rp_filter'), now('ipv4/conf/' ~ name ~ '/rp_filter')] | max == '1' %}
{%-     do settings.append(('net.ipv4.conf.' ~ name | replace('.', '/') ~ '.rp_filter', 2)) %}
{%-   endif %}
{%- endfor %}
{%- for name, value in settings %}

k3s_sysctl_{{ name }}:
  sysctl.present:
    - name: {{ name | json }}
    - value: {{ value }}
    - config: {{ file }}
    - require_in:
      - k3sfw: k3s_routes
{%- endfor %}
{%- if salt['file.file_exists']('/usr/sbin/NetworkManager') %}

# Adds to the site's own list of unmanaged devices, and takes effect without a restart. It is read
# last: a file after it that sets the list with = would replace it.
k3s_networkmanager:
  file.managed:
    - name: /etc/NetworkManager/conf.d/zz-k3sfw.conf
    - makedirs: True
    - contents: |
        [keyfile]
        unmanaged-devices+=interface-name:cni*;interface-name:flannel*
    - require_in:
      - k3sfw: k3s_routes

# Its name in older versions.
k3s_networkmanager_former:
  file.absent:
    - name: /etc/NetworkManager/conf.d/90-k3sfw.conf

k3s_networkmanager_reload:
  cmd.run:
    - name: nmcli general reload conf
    - onlyif: nmcli -t general status
    - onchanges:
      - file: k3s_networkmanager
    - require_in:
      - k3sfw: k3s_routes
{%- endif %}

{%- if salt['file.find']('/run/systemd/netif/links', type='f') %}

# From its next start on, networkd leaves the routes and rules of others alone.
k3s_networkd:
  file.managed:
    - name: /etc/systemd/networkd.conf.d/90-k3sfw.conf
    - makedirs: True
    - contents: |
        [Network]
        ManageForeignRoutes=no
        ManageForeignRoutingPolicyRules=no
    - require_in:
      - k3sfw: k3s_routes
{%- endif %}

k3s_routes:
  k3sfw.routes_checked:
    - settled: True
    - require:
      - sls: k3s.requirements
{%- endif %}
