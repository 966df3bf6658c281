"""Distillation: the loop, and the methods it runs."""
