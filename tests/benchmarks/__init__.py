"""How fast and how large: ``python -m tests.benchmarks``, each figure beside its yardstick."""
