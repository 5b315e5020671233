"""Intervals and rankings: arrays in, numbers out."""
