"""Decoupled recovery: images with which trained networks see the statistics of the real ones."""
