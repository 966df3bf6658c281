"""Kernel ridge regression: synthetic images are those whose regression predicts the real ones."""
