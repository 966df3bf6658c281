"""CSDM: the class-aware Spectral Distribution Distance on unit features (the paper's method).

Source: Wu et al. 2026, arXiv 2603.01698, Sections 4.2.2 to 4.2.4; recipe of NCFM's public code.
Cost: two forward passes of the synthetic and one of the real batch, O(n d T) for the metric.
Deviations: one joint step for all classes; unit features; alpha follows the log of the count.
Licence: none public; the paper alone.
Status: tested; no code of its authors to compare with.

Where alpha is not 1/2, the gradient of a mini-batch is biased: the amplitude of a mean over a few
images is larger than that of the class. At a scale of 3 and alpha 0.7 the bias is about a quarter
of the gradient with 64 images a class and 2 % with 1024, and at a scale of 1 none is seen
(`benchmarks/batches.py`).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from csdm_jax import metric
from csdm_jax.distillation.methods.base import Context
from csdm_jax.distillation.methods.matching import spectral
from csdm_jax.distillation.methods.matching.matching import SCHEDULE, Matching, kind
from csdm_jax.distillation.methods.matching.published import NCFM
from csdm_jax.metric.estimators import ESTIMATORS
from csdm_jax.metric.ragged import Ragged
from csdm_jax.runtime.fields import FLAG, OPEN_UNIT, Field, choice

FIELDS = (
    spectral.FIELDS
    | SCHEDULE
    | {
        # "exact": SDD from the kernel's Gram matrices, the amplitude alone from frequencies, none
        # of them where alpha is 1/2 for all classes; "auto": that, where it costs less.
        "sdd.estimator": Field("spectral", choice(ESTIMATORS)),
        "alpha.single": Field(0.7, OPEN_UNIT),
        # Whether each class's gradient to the features keeps the norm that it has at alpha = 1/2:
        # then alpha changes its direction alone, not how much the class weighs.
        "alpha.normalise": Field(False, FLAG),
    }
)


def create(config: Any, context: Context) -> Matching:
    """Class-aware SDD: alpha runs from `alpha.head` to `alpha.tail` with the class count."""
    return _matching(config, context, head=config.alpha.head, tail=config.alpha.tail)


def create_single(config: Any, context: Context) -> Matching:
    """The ablation with one alpha, `alpha.single`, for all classes."""
    return _matching(config, context, head=config.alpha.single, tail=config.alpha.single)


def check(config: Any) -> None:
    """Raises a ValueError when the kernel cannot do what the estimator asks of it."""
    spectral.check(config)
    if config.sdd.estimator != "spectral":
        row = jnp.zeros((1, 2))
        spectral.kernel_of(spectral.scaled(config))(row, row)


def settle(config: Any, context: Context, supplied: tuple[Any, ...]) -> dict[str, Any]:
    """The scale where it is open; a warning where frequencies are too few for it."""
    found = spectral.settle_scale(config, context, supplied)
    if config.sdd.estimator == "spectral" and context.sketches is None:  # it reads images
        config = config.copy_and_resolve_references()
        config.update_from_flattened_dict(found)
        spectral.warn_of_noise(config, context, supplied)
    return found


PUBLISHED = NCFM | {"distill.steps": 10_000, "sdd.estimator": "spectral"}
CLASS_AWARE = kind(create, FIELDS, PUBLISHED, check, settle)
SINGLE = kind(create_single, FIELDS, PUBLISHED, check, settle)


def _matching(config: Any, context: Context, *, head: float, tail: float) -> Matching:
    kernel = spectral.kernel_of(config)
    alphas = metric.class_alphas(jnp.array(context.counts), head=head, tail=tail)
    sdd, half = config.sdd, head == tail == 0.5
    dtype = None if sdd.matmul_dtype == "float32" else sdd.matmul_dtype

    def estimator_of(real: Ragged, synthetic_sizes: tuple[int, ...]) -> str:
        if sdd.estimator != "auto":
            return sdd.estimator
        return metric.cheaper_estimator(real.sizes, synthetic_sizes, sdd.num_frequencies, kernel)

    def drawn(key: jax.Array, estimator: str) -> jax.Array | None:
        if half and estimator == "exact":  # the amplitude counts nothing
            return None
        return spectral.frequencies(config, context, kernel, key)

    def distance(
        real: Ragged | metric.Sketch | metric.Reference, synthetic: Ragged, key: jax.Array
    ) -> tuple[jax.Array, dict]:
        if isinstance(real, Ragged):
            assert synthetic.sizes is not None
            estimator = estimator_of(real, synthetic.sizes)
        else:
            estimator = "spectral" if isinstance(real, metric.Sketch) else "exact"
        frequencies = drawn(key, estimator)
        assert synthetic.classes is not None
        return metric.sdd_parts(
            real,
            synthetic,
            frequencies,
            alpha=0.5 if frequencies is None else alphas[synthetic.classes],
            matmul_dtype=dtype,
            estimator=estimator,
            kernel=kernel,
            normalise=config.alpha.normalise,
        )

    def summarise(real: Ragged, key: jax.Array) -> metric.Sketch | metric.Reference:
        each = config.distill.ipc * context.parameterisation.tiles
        estimator = estimator_of(real, (each,) * real.num_classes)
        frequencies = drawn(key, estimator)
        if estimator == "spectral":
            assert frequencies is not None
            return metric.sketch(real, frequencies, matmul_dtype=dtype)
        return metric.reference(real, kernel, frequencies, dtype=jnp.bfloat16, matmul_dtype=dtype)

    return Matching(config, context, distance, summarise)
