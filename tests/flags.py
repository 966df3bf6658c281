"""Flags of XLA, for processes that JAX has not been imported in yet."""

QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
"""Programs compile in half the time, and run slower: tests run each a few times."""


def devices_flags(count: int) -> str:
    """XLA_FLAGS of a process with so many devices."""
    return f"--xla_force_host_platform_device_count={count} {QUICK}"
