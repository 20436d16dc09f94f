"""CORE: W2WNet. NumPy everywhere but in `nets`, the torch island."""
