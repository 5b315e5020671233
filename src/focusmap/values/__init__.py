"""The nouns that travel between the floors, as plain data."""
