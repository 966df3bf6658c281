"""LAD: DATM for long tails, in two courses: distribution-aware matching and expert decoupling.

The first student follows the experts' representation: its cross-entropy weighs class c by its share
of the real images, `w_c = n_c / sum n`, as the experts' gradients are weighed, and weights of the
backbone alone are compared. The second follows their classifiers, trained in a stage of their own
on as many images of every class: it moves its classifier alone, and begins where that stage does.
Images, labels and step size make one step along the weighted sum of both gradients.

Source: Zhao et al. 2025, Distilling Long-tailed Datasets.
Cost: twice TESLA's; experts with flat minima and a second stage.
Deviations: both students follow one expert, with the same batches and augmentation in a round; the
step size changes as in MTT; no whitening; images stay in [0, 1]; first images and labels as in
DATM; the second stage of the experts is plain descent without MaxNorm, which the published code
seems not to apply; no step is left out, as in the published code. The `loss` of a run's metrics is
the first student's.
Licence: no licence file
Status: tested; published settings for CIFAR-10-LT of imbalance 100 at ten images a class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from csdm_jax.distillation.methods.base import Context
from csdm_jax.distillation.methods.trajectories import trajectories
from csdm_jax.distillation.methods.trajectories.datm import LABELS, SOFT, SoftTrajectories
from csdm_jax.distillation.methods.trajectories.trajectories import Course, kind
from csdm_jax.networks import last_layer
from csdm_jax.runtime.fields import Field, integer, number
from csdm_jax.training.experts import flat

FIELDS = LABELS | {
    # Steps of the student that follows the classifiers, and epochs that they stand for.
    "trajectory.classifier_steps": Field(10, integer(1, 10_000)),
    "trajectory.classifier_epochs": Field(2, integer(1, 100_000)),
    # Weights of the losses of both students.
    "trajectory.representation": Field(1.0, number(0.0, 1e6)),
    "trajectory.classifier": Field(0.5, number(0.0, 1e6)),
}


class LAD(SoftTrajectories):
    """One student for the representation and one for the classifier."""

    def _courses(self) -> Sequence[Course]:
        own, counts = self._own, np.asarray(self._context.counts)
        shapes = jax.eval_shape(self._context.network.init, jax.random.key(0))
        last = jax.tree.map(
            lambda one, leaf: np.full(leaf.shape, one), last_layer(self._context.network), shapes
        )
        classifier = flat(last)
        return [
            Course(
                own.steps,
                self._window,
                matched=~classifier,
                class_weights=counts / counts.sum(),
                share=own.representation,
            ),
            Course(
                own.classifier_steps,
                self._second_stage,
                moved=classifier,
                share=own.classifier,
            ),
        ]

    def _second_stage(self, key: jax.Array, number: int) -> tuple[int, int]:
        """Its beginning, and some epochs later."""
        del key, number
        return self._first_epochs, self._first_epochs + self._own.classifier_epochs

    def __init__(self, config: Any, context: Context):
        self._first_epochs = config.experts.epochs
        super().__init__(config, context, exact=False)


def check(config: Any) -> None:
    """Raises a ValueError where a student would have no expert to follow."""
    trajectories.check(config)
    wanted, there = config.trajectory.classifier_epochs, config.experts.classifier_epochs
    if wanted > there:
        raise ValueError(
            f"trajectory.classifier_epochs = {wanted} is behind the end of the experts' second "
            f"stage, experts.classifier_epochs = {there}: raise the latter"
        )


def create(config: Any, context: Context) -> LAD:
    """Long-tailed matching of representation and classifier in two courses."""
    return LAD(config, context)


PUBLISHED = SOFT | {
    "experts.balancing_decay": 5e-3,
    "experts.classifier_epochs": 10,
    "trajectory.latest": 19,
    "trajectory.batch": 500,
    "trajectory.classifier_steps": 80,
    "trajectory.classifier_epochs": 2,
    "trajectory.representation": 0.5,
    "trajectory.classifier": 1.0,
}
KIND = kind(create, FIELDS, PUBLISHED, flat=True, balanced=True, selects=True, check=check)
