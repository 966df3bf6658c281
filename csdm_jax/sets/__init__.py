"""Distilled sets: the set with its card, other code's formats, export and import."""
