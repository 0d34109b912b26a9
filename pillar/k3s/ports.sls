{#-
  The rows of this minion's role: both tables, the site's changes merged over them, and then
  without those that are for the other role only. The site is merged here and not by top.sls,
  because the part of a row that it changes would reach minions that do not hold the row.
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
{%- for rows in (ours.k3s.ports.values() if ours.k3s.ports is mapping else []) if rows is mapping %}
{%-   for name, row in rows.items() | list if row is mapping %}
{%-     if row.get("destination", "any") | lower == other_role %}{% do rows.pop(name) %}{% endif %}
{%-   endfor %}
{%- endfor %}
{{ ours | json(sort_keys=False) }}
