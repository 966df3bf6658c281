"""Distribution matching: one recipe under different metrics."""
