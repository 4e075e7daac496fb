"""Clusters as people really scrape them: small inputs with the truth beside them."""
