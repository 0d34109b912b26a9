{#-
  The settings and the rows of this minion's role: the defaults with the site's own file,
  k3s/site.sls, merged over them here, by one merge that no option of the master changes.

  What is ours must never win over the site's values from other pillar files, git or another
  environment, in whatever order and by whatever strategy Salt merges them. So it stands below a key
  of its own, k3sfw_defaults, and the engine merges k3s over it. Only the rows stand below k3s, for
  pillar.get k3s:ports to show them, where Salt merges in its default way and from one place.

  The rows that open only the other role are left out, and with them the columns that the site
  changes. They are sent on request. check_ports asks for them with a grain when it compiles its
  pillar, because an agent must know that a server's etcd has to reject it. They are sent as
  peer_ports, open nothing, and are not kept by the minion. (The master remembers the grain until
  the minion's next refresh.) salt-ssh, which alone has the version of ssh in its options, compiles a
  pillar once for each state, so a check cannot ask, and they are always sent. Tests are sent whole: of one that another pillar file changes, a part
  would be left, and be refused.
-#}
{%- import_yaml "k3s/tables/settings.yaml" as settings %}
{%- import_yaml "k3s/tables/cluster.yaml" as cluster %}
{%- import_yaml "k3s/tables/manager.yaml" as manager %}
{%- import_yaml "k3s/tables/tests.yaml" as tests %}
{%- set text %}{% include "k3s/site.sls" ignore missing %}{% endset %}
{%- set site = text | load_yaml or {} %}
{%- if site is not mapping %}
{{ raise("The pillar file k3s/site.sls is not a map. Fix: write it as in k3s/site.sls.example") }}
{%- endif %}
{%- do settings.update(cluster=grains.get("k3s_cluster", "default")) %}
{%- set tables = dict(k3s=dict(ports=dict(cluster=cluster, manager=manager))) %}
{%- set merged = salt["slsutil.merge"](tables, site, strategy="recurse", merge_lists=False) %}
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
{%- if (grains.get("k3sfw_asks_for_peer_ports") or "_ssh_version" in opts)
      and merged.k3s is mapping %}
{%-   do merged.k3s.update({"peer_ports": peer_ports}) %}
{%- endif %}
{%- do settings.update(tests=tests) %}
{%- set is_plain = opts.get("pillar_source_merging_strategy", "smart") in ("smart", "recurse")
      and "yamlex" not in opts.get("renderer", "") and not opts.get("pillar_merge_lists")
      and not opts.get("ext_pillar") and opts["pillar_roots"] | length == 1 %}
{%- set ours = dict(k3s=settings) %}
{%- if not is_plain %}
{%-   set ours = salt["slsutil.merge"](ours, {"k3s": merged.pop("k3s")}, strategy="recurse",
        merge_lists=False) %}
{%- endif %}
{%- do merged.update(k3sfw_defaults=ours.k3s) %}
{{ merged | json(sort_keys=False) }}
