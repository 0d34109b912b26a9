"""The engine of k3sfw: port tables in, firewalld rules and verdicts about packets out.

It does not know Salt: ``_modules/k3sfw.py`` and ``_states/k3sfw.py`` translate. A package may
import only those below it in this list; its ``__init__.py`` says what each of its files is for.

commands       one file for each verb of a node: apply, check_ports, rollback, ...
master         one file for each verb of the master
transaction    a change that is proven, or undone by the run, a watchdog or the next run
fleet          the answers of many nodes, grouped, and every form of them (pure)
cluster_pillar the tables of the whole cluster on the master: compiled, or asked of nodes
healing        find and repair the damage that a killed firewalld or a full disk left
firewalld      firewalld's D-Bus interface, its files and its nft table; nothing else talks to it
probes         packets sent to peers, and packets recorded in the kernel
checks         facts in, verdicts out: ports, routes, zones, lockout (pure)
host           this host: programs, files, connections, routes, NAT
plan           rows to firewalld objects, how they differ from what is there, steps (pure)
port_tables    the pillar, read into rows and nodes, or every fault at once (pure)
model          the data that all of these share: rows, addresses, objects, packets (pure)
standalone     programs for firewalld's own Python, which import nothing of the engine
errors         a problem with its fix, and an error class for each cause
"""

__version__ = "0.3.0.dev0"
