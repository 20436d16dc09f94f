"""Public image sets with known faults, as in the paper's Table 1: seeded manifests, and stores of them."""
