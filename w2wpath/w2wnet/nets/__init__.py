"""The torch island: torch and timm are imported here and nowhere else."""
