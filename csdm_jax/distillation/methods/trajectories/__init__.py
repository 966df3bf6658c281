"""Trajectory matching: a student's training on synthetic images follows that of experts."""
