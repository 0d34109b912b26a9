"""Run every benchmark: ``python -m bench``."""

from bench import checks, pillar_nodes, rules

if __name__ == "__main__":
    rules.main()
    print()
    checks.main()
    print()
    pillar_nodes.main()
