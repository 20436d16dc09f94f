"""ADAPTERS: data sets with known truth."""
