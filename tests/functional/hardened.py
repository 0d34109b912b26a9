"""A firewalld as the guides for hardened hosts want it: every zone in use drops."""

# A zone of the operator with a card of its own, and one that takes a network by its address.
STORAGE, MANAGEMENT = "storage", "mgmt"
MANAGERS = "198.51.100.0/24"


def harden(node):
    """Let every zone in use drop, log what is denied, and lock firewalld down where it can be."""
    node.run("ip", "link", "add", "eth1", "type", "bridge")
    node.firewall_cmd("--set-default-zone=drop")
    node.firewall_cmd("--permanent", "--zone=drop", "--change-interface=eth0")
    # As it comes, it lets through what two of its own interfaces send each other.
    node.firewall_cmd("--permanent", "--zone=drop", "--remove-forward")
    for zone, bound in ((STORAGE, "interface=eth1"), (MANAGEMENT, f"source={MANAGERS}")):
        node.firewall_cmd("--permanent", f"--new-zone={zone}")
        node.firewall_cmd("--permanent", f"--zone={zone}", "--set-target=DROP")
        node.firewall_cmd("--permanent", f"--zone={zone}", f"--add-{bound}")
    node.firewall_cmd("--set-log-denied=all")
    node.firewall_cmd("--reload")
    lock_down(node)


def lock_down(node):
    """Allow only those in lockdown-whitelist.xml to change anything at runtime.

    From 2.2 on firewalld has no lockdown any more, and takes the option without an effect.
    """
    node.firewall_cmd("--lockdown-on")


def findings(node):
    """The zones in use whose target is not DROP, as the guides' own commands show them."""
    listed = node.firewall_cmd("--get-active-zones").splitlines()
    zones = {line.split()[0] for line in listed if line and not line[0].isspace()}
    zones.add(node.firewall_cmd("--get-default-zone"))
    return {
        f"{zone} {layer}": target
        for zone in sorted(zones)
        for layer, options in (("runtime", ()), ("permanent", ("--permanent",)))
        if (target := _target(node, zone, options)) != "DROP"
    }


def _target(node, zone, options):
    told = node.firewall_cmd(*options, f"--info-zone={zone}").splitlines()
    (line,) = [each for each in told if each.strip().startswith("target:")]
    return line.split()[1]
