"""Where randomness comes from: every draw is a pure function of (stage, seed, index).

Nothing random is ever saved: a run that goes on after a stop draws what it would have drawn.
"""

from __future__ import annotations

import jax

STAGES = (
    "extractors",
    "distillation",
    "evaluation",
    "spectrum",
    "reference",
    "untrained",
    "loss scale",
    "experts",
    "classifiers",
)


def root_key(stage: str, seed: int) -> jax.Array:
    """The key of a stage. Equal seeds of two stages share no number.

    Args:
      stage: one of `STAGES`.
      seed: a non-negative integer.
    """
    return jax.random.fold_in(jax.random.key(seed), STAGES.index(stage))
