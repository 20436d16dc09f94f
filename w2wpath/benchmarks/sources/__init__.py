"""Readers of public image sets that lie in a local folder."""
