"""Evaluation: fresh networks trained on a distilled set, and the statistics of their accuracies."""
