"""Training a classifier: the one loop behind the extractors and the evaluation.

Images stay on the device as they are stored (uint8 or [0, 1] floats); a step draws its batch by
index as a pure function of (key, step), normalises, augments, mixes and updates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from csdm_jax import augment, health, interruption
from csdm_jax.data.device import epoch_batches
from csdm_jax.networks import Network
from csdm_jax.optimisers import optimiser, step_decay
from csdm_jax.preprocessing import Normaliser
from csdm_jax.stepping import Stepper

Params = Any


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a classifier is trained.

    Args:
      epochs: passes over the data, at least 1.
      batch: images a step; the last, partial batch of an epoch is masked, not dropped.
      optimiser: a name of `csdm_jax.optimisers`.
      learning_rate: initial step size.
      momentum: in [0, 1).
      weight_decay: non-negative.
      decay_at: fractions of the training at which the learning rate is multiplied by `decay`.
      decay: that factor.
      augmentation: drawn afresh for every image and step.
      cutmix: probability of CutMix in a step, in [0, 1].
      logit_adjustment: tau; the loss reads `logits + tau log prior` (Menon et al. 2021), which
        counters the class prior of long-tailed data. 0 is plain cross-entropy.
    """

    epochs: int
    batch: int
    optimiser: str
    learning_rate: float
    momentum: float
    weight_decay: float
    decay_at: tuple[float, ...]
    decay: float
    augmentation: augment.Augmentation
    cutmix: float
    logit_adjustment: float = 0.0


class Trainer:
    """A compiled training step of one network and recipe, used for any number of networks.

    Args:
      network: what is trained.
      recipe: how.
      normaliser: brings pixels to the network's scale.
    """

    def __init__(self, network: Network, recipe: Recipe, normaliser: Normaliser):
        self.network = network
        self.recipe = recipe
        self.normaliser = normaliser
        self._stepper: Stepper | None = None
        self._steps_per_epoch = 0

    def fit(
        self,
        key: jax.Array,
        images: jax.Array,
        targets: jax.Array,
        *,
        params: Params | None = None,
        report_every: int = 1,
        on_report: Callable[[int, Params, float], None] | None = None,
        label: str = "training",
    ) -> Params:
        """Trains one network.

        Args:
          key: decides initialisation, batches and augmentation.
          images: `[n, H, W, ch]`, uint8 or floats in [0, 1].
          targets: `[n, K]` float32, class probabilities (one-hot for hard labels).
          params: where to start; drawn from `key` when absent.
          report_every: epochs between calls of `on_report`.
          on_report: called with (epochs done, params, mean loss since the last call), the last
            epoch always included. Must not keep `params`: they are donated to the next step.
          label: name of the training in errors.

        Returns:
          The trained parameters.

        Raises:
          FloatingPointError: when the loss or a weight is no longer finite; names the step.
          Interrupted: when a signal asked for the end; nothing is kept of this network.
        """
        init_key, step_key = jax.random.split(key)
        if params is None:
            params = self.network.init(init_key)
        stepper, per_epoch = self._prepare(len(images))
        carry = (params, self._optimiser.init(params))
        prior = jnp.log(jnp.maximum(targets.mean(0), 1e-12))
        constants = (images, targets, prior, step_key)
        for start in range(0, self.recipe.epochs, report_every):
            epochs = min(report_every, self.recipe.epochs - start)
            first = start * per_epoch
            carry, loss = stepper(carry, constants, first, epochs * per_epoch)
            interruption.check(f"in {label}, after step {first + len(loss)}")
            _check_finite(label, first, loss, carry[0])
            if on_report:
                on_report(start + epochs, carry[0], float(np.mean(loss)))
        return carry[0]

    def _prepare(self, count: int) -> tuple[Stepper, int]:
        """Builds the step for a data set of `count` images, once."""
        per_epoch = -(-count // self.recipe.batch)
        if self._stepper is None or per_epoch != self._steps_per_epoch:
            recipe = self.recipe
            schedule = step_decay(
                recipe.learning_rate, recipe.epochs * per_epoch, recipe.decay_at, recipe.decay
            )
            self._optimiser = optimiser(
                recipe.optimiser,
                schedule,
                momentum=recipe.momentum,
                weight_decay=recipe.weight_decay,
            )
            self._steps_per_epoch = per_epoch
            self._stepper = Stepper(self._step)
        return self._stepper, per_epoch

    def _step(self, carry: Any, constants: Any, index: jax.Array) -> tuple[Any, jax.Array]:
        params, opt_state = carry
        images, targets, log_prior, key = constants
        epoch, row = jnp.divmod(index, self._steps_per_epoch)
        rows, present = epoch_batches(
            jax.random.fold_in(key, epoch), len(images), self.recipe.batch
        )
        augment_key, mix_key = jax.random.split(jax.random.fold_in(key, index + 1_000_003))
        batch = self.normaliser(images[rows[row]])
        batch = augment.augment_each(self.recipe.augmentation, augment_key, batch)
        labels = targets[rows[row]]
        if self.recipe.cutmix:
            batch, labels = augment.cutmix(mix_key, batch, labels, self.recipe.cutmix)

        def loss_of(params):
            logits, _ = self.network.apply(params, batch)
            logits = logits + self.recipe.logit_adjustment * log_prior
            losses = optax.softmax_cross_entropy(logits, labels)
            return jnp.sum(losses * present[row]) / jnp.sum(present[row])

        loss, gradient = jax.value_and_grad(loss_of)(params)
        updates, opt_state = self._optimiser.update(gradient, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss


def _check_finite(label: str, first: int, loss: np.ndarray, params: Params) -> None:
    """Stops at the first bad loss of some steps, or at bad weights after them."""
    fault = health.first_fault({"loss": np.isfinite(loss)})
    if fault is None and not health.finite(params):
        fault = len(loss) - 1, "weights"
    if fault:
        raise FloatingPointError(
            f"{label}: {fault[1]} not finite at step {first + fault[0]}: lower its learning_rate, "
            "or check the images it is trained on"
        )
