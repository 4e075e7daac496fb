"""A simulated Cilium cluster: the metrics a Prometheus would have, and the truth behind them.

It follows Cilium's source (named where a rule is used) and knows nothing of the package under
test, so that the two can be wrong only independently.
"""
