"""Run every benchmark: ``python -m bench``."""

from bench import pillar_nodes, rules

if __name__ == "__main__":
    rules.main()
    print()
    pillar_nodes.main()
