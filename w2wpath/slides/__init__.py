"""SLIDE: one contract, whichever library reads the file; and the tissue mask."""
