"""``%load_ext cilium_analysis``: ``%promql`` and ``%metric``, completion, displays."""
