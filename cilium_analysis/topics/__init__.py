"""One question each: its PromQL as data, and from frames to findings."""
