"""Gradient matching: synthetic images whose gradients to a network's weights are the real ones'."""
