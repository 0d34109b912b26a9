"""New connections while the tables change."""

from lab.connection_stream import stream


def test_no_new_connection_is_lost_while_nodes_rows_and_groups_change(node, outsider, pillar):
    node.call("apply", pillar)
    with stream(outsider, node.host, 6379) as connections:
        for change in range(4):
            pillar["nodes"][f"n{change}"] = {
                "role": "agent",
                "addresses": [f"198.51.100.{change + 1}"],
            }
            pillar["ports"]["manager"][f"row{change}"] = {"protocol": "tcp", "port": 7000 + change}
            clients = ["192.0.2.0/24"] if change % 2 else ["0.0.0.0/0", "::/0"]
            pillar["groups"] = {"clients": clients}
            assert node.call("apply", pillar)["reloads"] == []
    assert set(connections.counts) == {"open"}
    assert connections.counts["open"] > 200


def test_a_source_outside_the_tables_is_rejected_at_every_moment_of_a_change(
    node, outsider, pillar
):
    pillar["groups"] = {"clients": ["198.51.100.0/24"]}
    with stream(outsider, node.host, 6379) as connections:
        for _change in range(2):
            node.call("apply", pillar)
            pillar["ports"]["manager"]["redis"]["source"] = ["clients", "203.0.113.0/24"]
        node.call("remove")
    assert "open" not in connections.counts
    assert sum(connections.counts.values()) > 5
