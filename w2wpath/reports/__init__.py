"""HTML base: one self-contained, offline page, everything escaped."""
