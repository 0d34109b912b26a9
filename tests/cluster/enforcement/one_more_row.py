"""A change of s1: one more row in pillar than on its nodes, and what became of it."""

TRANSACTION = "/var/lib/k3sfw/transaction"
HISTORY = "/var/lib/k3sfw/history"
EXPORTER = {
    "k3s": {
        "ports": {
            "cluster": {
                "exporter": {
                    "protocol": "tcp",
                    "port": 9100,
                    "source": "any",
                    "destination": "any",
                    "description": "Node Exporter",
                }
            }
        }
    }
}


def has_exporter(host):
    """Whether the row is in force, and whether it is permanent."""
    rules = host.run(["firewall-cmd", "--policy=k3s-rows", "--list-rich-rules"]).stdout
    file = host.path("/etc/firewalld/policies/k3s-rows.xml").read_text()
    return 'port="9100"' in rules, 'port="9100"' in file


def outcomes(cluster):
    """The outcomes of the changes of s1, newest first."""
    return [entry["outcome"] for entry in cluster.salt("s1", "k3sfw.history")["s1"]]
