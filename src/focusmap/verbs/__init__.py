"""The verbs: one function each, the same that the command line calls; `focusmap` holds them all under their names."""
