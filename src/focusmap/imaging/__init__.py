"""Pixels: reading, preparing and storing pictures."""
