"""Statistics: frame in, frame out; no I/O, no plots."""
