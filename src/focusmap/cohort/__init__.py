"""Who and what: the label file as a checked table, and its split by patient."""
