"""How fast the receiver is, as ratios against floors that are measured in the same run. `make bench` starts it."""
