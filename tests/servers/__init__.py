"""Real Prometheus and VictoriaMetrics servers for the tests to ask."""
