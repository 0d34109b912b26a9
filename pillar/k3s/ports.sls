{#-
  The rows of this minion's role: both tables, with the site's changes merged over them and without
  the rows that open only the other role. The site is merged here and not by top.sls: from there,
  the columns that it changes would also reach minions that do not hold the row.

  Rows that open only the other role are sent on request. check_ports asks for them with a grain
  when it compiles its pillar, because an agent must know that a server's etcd has to reject it.
  They are sent as peer_ports, open nothing, and are not kept by the minion. (The master remembers
  the grain until the minion's next refresh.)
-#}
{%- import_yaml "k3s/tables/cluster.yaml" as cluster %}
{%- import_yaml "k3s/tables/manager.yaml" as manager %}
{%- set text %}{% include "k3s/site.sls" ignore missing %}{% endset %}
{%- set site = text | load_yaml or {} %}
{%- if site is not mapping %}
{{ raise("The pillar file k3s/site.sls is not a map. Fix: write it as in k3s/site.sls.example") }}
{%- endif %}
{%- set tables = dict(k3s=dict(ports=dict(cluster=cluster, manager=manager))) %}
{%- set merged = salt["slsutil.merge"](tables, site) %}
{%- set other_role = {"server": "agent", "agent": "server"}[grains["k3s_role"] | lower] %}
{#- A value that is not a map is left to the engine, which reports it. #}
{%- set peer_ports = {} %}
{%- set ports = merged.k3s.ports if merged.k3s.ports is mapping else {} %}
{%- for table, rows in ports.items() if rows is mapping %}
{%-   do peer_ports.update({table: {}}) %}
{%-   for name, row in rows.items() | list if row is mapping %}
{%-     if row.get("destination", "any") | lower == other_role %}
{%-       do peer_ports[table].update({name: rows.pop(name)}) %}
{%-     endif %}
{%-   endfor %}
{%- endfor %}
{%- if grains.get("k3sfw_asks_for_peer_ports") and merged.k3s is mapping %}
{%-   do merged.k3s.update({"peer_ports": peer_ports}) %}
{%- endif %}
{{ merged | json(sort_keys=False) }}
