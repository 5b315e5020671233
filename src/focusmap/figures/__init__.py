"""Everything that draws with matplotlib: arrays in, files out."""
