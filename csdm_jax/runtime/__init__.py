"""How programs run: steps, devices, processes, memory, progress, signals, seeds, registries."""
