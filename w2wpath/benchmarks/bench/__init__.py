"""The paper's benchmarks: data sets with known faults, W2WNet and its rivals on each, one report over all of them."""
