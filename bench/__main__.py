"""Run every benchmark: ``python -m bench``."""

from bench import (
    checks,
    cluster_check,
    fleet,
    page,
    pillar_nodes,
    rules,
    transactions,
)

if __name__ == "__main__":
    took = rules.main()
    print()
    overhead = transactions.main()
    first, more = (took[name] - overhead[name] for name in ("first apply", "one node more"))
    print("k3sfw.managed without the overhead of the transaction")
    print(f"  first apply, faster than the script {took['script'] / first:8.2f}")
    print(f"  one node more, in milliseconds      {more:8.1f}")
    print()
    checks.main()
    print()
    pillar_nodes.main()
    print()
    fleet.main()
    print()
    cluster_check.main()
    print()
    page.main()
