"""ANNOTATIONS: QuPath GeoJSON in and out."""
