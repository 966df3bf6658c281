"""What is written to disk: whole files, checkpoints, locks, archives."""
