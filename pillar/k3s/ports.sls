{#-
  The rows of this minion's role: both tables, the site's changes merged over them, and then
  without those that are for the other role only. The site is merged here and not by top.sls,
  because the part of a row that it changes would reach minions that do not hold the row.

  What only the other role opens is told to nobody who does not ask for it: check_ports compiles its
  pillar with a grain of that meaning, as an agent must know that a server's etcd is to refuse it.
  It then stands below peer_ports, opens nothing, and the minion does not keep it. (The master
  remembers that grain until the minion's next refresh.)
-#}
{%- import_yaml "k3s/tables/cluster.yaml" as cluster %}
{%- import_yaml "k3s/tables/manager.yaml" as manager %}
{%- set text %}{% include "k3s/site.sls" ignore missing %}{% endset %}
{%- set site = text | load_yaml or {} %}
{%- if site is not mapping %}
{{ raise("the pillar file k3s/site.sls must hold a map, as k3s/site.sls.example shows") }}
{%- endif %}
{%- set tables = {"k3s": {"ports": {"cluster": cluster, "manager": manager}}} %}
{%- set ours = salt["slsutil.merge"](tables, site) %}
{%- set other_role = {"server": "agent", "agent": "server"}[grains["k3s_role"] | lower] %}
{#- What is no map is left for the engine, which names it in a sentence. #}
{%- set elsewhere = {} %}
{%- for table, rows in (ours.k3s.ports if ours.k3s.ports is mapping else {}).items() if rows is mapping %}
{%-   do elsewhere.update({table: {}}) %}
{%-   for name, row in rows.items() | list if row is mapping %}
{%-     if row.get("destination", "any") | lower == other_role %}
{%-       do elsewhere[table].update({name: rows.pop(name)}) %}
{%-     endif %}
{%-   endfor %}
{%- endfor %}
{%- if grains.get("k3sfw_asks_for_peer_ports") and ours.k3s is mapping %}
{%-   do ours.k3s.update({"peer_ports": elsewhere}) %}
{%- endif %}
{{ ours | json(sort_keys=False) }}
