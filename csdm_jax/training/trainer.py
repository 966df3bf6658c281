"""Training a classifier: the one loop behind the extractors and the evaluation.

Images stay on the device as they are stored (uint8 or [0, 1] floats); a step takes its batch from
the epoch's order, a pure function of (key, epoch), normalises, augments, mixes and updates.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from csdm_jax import augment
from csdm_jax.data.device import epoch_batches, present
from csdm_jax.data.host import HostData
from csdm_jax.data.preprocessing import Normaliser
from csdm_jax.networks import Network
from csdm_jax.runtime import health, interruption
from csdm_jax.runtime.stepping import Feed, Step, Stepper
from csdm_jax.training import parallel
from csdm_jax.training.optimisers import optimiser, step_decay
from csdm_jax.training.sharpness import flat_gradient

Params = Any
LOSSES = ("cross_entropy", "squared_error")
"""By which a network learns class probabilities; the second compares logits."""
LEAST = 1e-12  # probability whose logarithm a logit is compared with
_TRIAL_STEPS = {"loop": 3, "scan": 20}  # a scan is one dispatch: fewer steps tell little of it


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a classifier is trained.

    Args:
      epochs: passes over the data, at least 1.
      batch: images a step; the last, partial batch of an epoch is masked, not dropped.
      optimiser: a name of `csdm_jax.training.optimisers`.
      learning_rate: initial step size, positive.
      momentum: in [0, 1).
      weight_decay: non-negative.
      decay_at: fractions of the training, in (0, 1), at which the learning rate is multiplied by
        `decay`.
      decay: that factor, positive.
      augmentation: drawn afresh for every image and step.
      cutmix: probability of CutMix in a step, in [0, 1].
      logit_adjustment: tau; the loss reads `logits + tau log prior` (Menon et al. 2021), which
        counters the class prior of long-tailed data. 0 is plain cross-entropy.
      sharpness: radius of `csdm_jax.training.sharpness`, whose gradient takes the place of the
        loss's; 0 is plain descent.
      surrogate_gap: its weight of the surrogate gap.
      consistency: weight of the agreement of two views of each image, mixed alike: the cosine
        between their features, one of them held fixed (SimSiam without its predictor). 0 has one
        view.
      reweighting: q of the class weights `prior^-q` of a second cross-entropy, which takes the
        place of the first by the square of the share of the training that is over (RLDD). 0: none.
      loss: a name of `LOSSES`. The squared error knows neither adjustment nor reweighting.
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
    sharpness: float = 0.0
    surrogate_gap: float = 0.0
    consistency: float = 0.0
    reweighting: float = 0.0
    loss: str = LOSSES[0]


Report = Callable[[int, int, Params, float], None]


@dataclasses.dataclass(frozen=True)
class _Job:
    """What one call trains.

    Attributes:
      keys: one a network.
      shared: images, targets and log prior.
      start: network's number -> initial parameters; None: drawn from its key.
      chunks: first step, steps, and epochs done after them; between two chunks the host looks.
      labels: names of the networks.
      on_report: see `Trainer.fit_many`.
      host: the images, where they stay on the host.
    """

    keys: Sequence[jax.Array]
    shared: tuple[jax.Array, ...]
    start: Callable[[int], Params] | None
    chunks: Sequence[tuple[int, int, int]]
    labels: Sequence[str]
    on_report: Report | None
    host: HostData | None = None


class _State(NamedTuple):
    """What the steps of one network hand on.

    Attributes:
      params: of the network.
      optimiser: Optax state.
      order: int32 `[B, batch]`, the examples of the epoch's batches; renewed by its first step.
    """

    params: Params
    optimiser: Any
    order: jax.Array


class Trainer:
    """A compiled training step of one network and recipe, used for any number of networks.

    Args:
      network: what is trained.
      recipe: how.
      normaliser: brings pixels to the network's scale.
      strategy: how several networks are trained at once: "auto" or a name of
        `csdm_jax.training.parallel.STRATEGIES`.

    Raises:
      ValueError: for an unknown strategy.
    """

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        normaliser: Normaliser,
        strategy: str = parallel.AUTO,
    ):
        if strategy != parallel.AUTO:
            parallel.strategy(strategy)
        self.network = network
        self.recipe = recipe
        self.normaliser = normaliser
        self.strategy = strategy
        self._steppers: dict[Any, Stepper] = {}
        self.chosen: dict[tuple[int, int], str] = {}
        """The strategy that won the race, by number of networks and of images in a batch."""
        self._steps_per_epoch = 0
        self._lock = threading.Lock()

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
          params: where to start; drawn from `key` when absent. They are donated.
          report_every: epochs between calls of `on_report`.
          on_report: called with (epochs done, params, mean loss since the last call), as in
            `fit_many`.
          label: name of the training in errors.

        Returns:
          The trained parameters.

        Raises:
          FloatingPointError: when the loss or a weight is no longer finite; names the step.
          Interrupted: when a signal asked for the end; nothing is kept of this network.
        """
        trained: list[Params] = []
        self.fit_many(
            [key],
            images,
            targets,
            start=None if params is None else lambda _: params,
            report_every=report_every,
            on_report=on_report and (lambda _, *report: on_report(*report)),
            on_finish=lambda _, params: trained.append(params),
            labels=[label],
        )
        return trained[0]

    def fit_many(
        self,
        keys: Sequence[jax.Array],
        images: jax.Array,
        targets: jax.Array,
        *,
        on_finish: Callable[[int, Params], None],
        labels: Sequence[str],
        start: Callable[[int], Params] | None = None,
        report_every: int = 1,
        on_report: Report | None = None,
    ) -> None:
        """Trains several networks on the same images, by the trainer's strategy.

        Args:
          keys: one a network; decides its initialisation, batches and augmentation.
          images: `[n, H, W, ch]`, uint8 or floats in [0, 1]; or `HostData`, read batch by batch,
            one network after the other.
          targets: `[n, K]` float32, class probabilities (one-hot for hard labels).
          on_finish: called with number and trained parameters of each network when it is finished.
          labels: names of the networks in errors.
          start: gives network number k its initial parameters, anew in each call: they are
            donated. Drawn from its key when absent.
          report_every: epochs between calls of `on_report`.
          on_report: called with (number, epochs done, params, mean loss since the last call), the
            last epoch always included; one call at a time, but perhaps from other threads. Must
            not keep `params`: they are donated to the next step.

        Raises:
          FloatingPointError: when the loss or a weight is no longer finite; names the step.
          Interrupted: when a signal asked for the end; networks under way are lost.
        """
        self._prepare(len(images))
        prior = jnp.log(jnp.maximum(targets.mean(0), 1e-12))
        host = images if isinstance(images, HostData) else None
        images = None if host else images
        chunks = _chunks(self.recipe.epochs, report_every, self._steps_per_epoch)
        job = _Job(keys, (images, targets, prior), start, chunks, labels, on_report, host)
        strategy = parallel.strategy("loop" if host else self._choose(job))
        self._train(job, strategy, on_finish)

    def _prepare(self, count: int) -> None:
        """Builds the optimiser for a data set of `count` images, once."""
        per_epoch = -(-count // self.recipe.batch)
        if per_epoch == self._steps_per_epoch:
            return
        recipe = self.recipe
        schedule = step_decay(
            recipe.learning_rate, recipe.epochs * per_epoch, recipe.decay_at, recipe.decay
        )
        self._optimiser = optimiser(
            recipe.optimiser, schedule, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
        self._steps_per_epoch = per_epoch
        self._steppers = {}

    def _choose(self, job: _Job) -> str:
        """The name of the strategy; "auto" is a race, run once for a shape and group size."""
        if self.strategy != parallel.AUTO:
            return self.strategy
        count = min(len(job.keys), parallel.AT_ONCE)
        known = len(job.shared[0]), count
        if known in self.chosen:
            return self.chosen[known]
        names = parallel.candidates(jax.default_backend(), jax.local_device_count())
        steps = len(job.keys) * self.recipe.epochs * self._steps_per_epoch
        if count == 1 or steps < parallel.WORTH_A_RACE:
            return names[0]
        stepping = self._stepper(parallel.strategy(names[0])).strategy
        chunks = [(0, min(job.chunks[0][1], _TRIAL_STEPS[stepping]), 0)]
        trial = dataclasses.replace(job, keys=job.keys[:count], chunks=chunks, on_report=None)
        trials = {
            name: functools.partial(self._train, trial, parallel.strategy(name), _wait)
            for name in names
        }
        label = f"{count} networks {self.network.name} at once, {chunks[0][1]} steps"
        self.chosen[known] = parallel.fastest(trials, label)
        return self.chosen[known]

    def _train(
        self, job: _Job, strategy: parallel.Strategy, on_finish: Callable[[int, Params], None]
    ) -> None:
        """Trains the networks of a job, from start to end."""
        train = functools.partial(self._train_group, job, strategy)
        strategy.run(train, len(job.keys), on_finish)

    def _train_group(
        self, job: _Job, strategy: parallel.Strategy, group: range, over: threading.Event
    ) -> list[Params]:
        """Trains the networks of one group from start to end."""
        stepper = self._stepper(strategy, streamed=job.host is not None)
        carries, keys = zip(*(self._begin(job, number) for number in group), strict=True)
        carry = strategy.pack(carries)
        constants = strategy.share(job.shared), strategy.pack(keys)
        feed = self._feed(job.host, keys[0]) if job.host else None
        params = []
        for first, length, epochs in job.chunks:
            carry, losses = stepper(carry, constants, first, length, feed=feed)
            interruption.check(f"in {job.labels[group[0]]}, after step {first + len(losses)}")
            if over.is_set():
                raise concurrent.futures.CancelledError("another network has failed")
            params = [state.params for state in strategy.unpack(carry, len(group))]
            for row, number in enumerate(group):
                _check_finite(job.labels[number], first, losses[:, row], params[row])
            if job.on_report:
                with self._lock:
                    for row, number in enumerate(group):
                        job.on_report(number, epochs, params[row], float(losses[:, row].mean()))
        return params

    def _begin(self, job: _Job, number: int) -> tuple[_State, jax.Array]:
        """One network's state before the first step, and the key of its steps."""
        init_key, step_key = jax.random.split(job.keys[number])
        params = job.start(number) if job.start else self.network.init(init_key)
        none_yet = jnp.asarray(np.zeros((self._steps_per_epoch, self.recipe.batch), np.int32))
        return _State(params, jax.jit(self._optimiser.init)(params), none_yet), step_key

    def _stepper(self, strategy: parallel.Strategy, *, streamed: bool = False) -> Stepper:
        """The compiled step of a strategy; strategies with the same step share it."""
        with self._lock:
            known = strategy.step, streamed
            if known not in self._steppers:
                step = strategy.step(self._step)
                self._steppers[known] = Stepper(_with_batch(step) if streamed else step)
            return self._steppers[known]

    def _feed(self, host: HostData, key: jax.Array) -> Feed:
        """Reads the images of one network's step."""
        order_of = jax.jit(lambda epoch: self._order(key, len(host), epoch))

        @functools.lru_cache(maxsize=1)  # an epoch's steps share its order
        def order(epoch: int) -> np.ndarray:
            return np.asarray(order_of(np.int32(epoch)))

        def images(index: int) -> jax.Array:
            epoch, row = divmod(index, self._steps_per_epoch)
            return jnp.asarray(host.take(order(epoch)[row]))

        return images

    def _order(self, key: jax.Array, count: int, epoch: jax.Array) -> jax.Array:
        """Which of `count` images the steps of an epoch see."""
        return epoch_batches(jax.random.fold_in(key, epoch), count, self.recipe.batch)

    def _step(
        self, state: _State, shared: Any, key: jax.Array, index: jax.Array
    ) -> tuple[_State, jax.Array]:
        params, opt_state, order = state
        images, targets, log_prior = shared
        epoch, row = jnp.divmod(index, self._steps_per_epoch)
        # A permutation of all images costs more than a step of many. The index is the same for all
        # networks: under `vmap` too one branch runs.
        order = jax.lax.cond(row == 0, lambda: self._order(key, len(targets), epoch), lambda: order)
        rows, real = order[row], present(row, len(targets), self.recipe.batch)
        streamed = isinstance(images, _Batch)
        augment_key, mix_key = jax.random.split(jax.random.fold_in(key, index + 1_000_003))
        batch = self.normaliser(images.pixels if streamed else images[rows])
        first, labels = self._view(batch, targets[rows], augment_key, mix_key)
        views = [first]
        if self.recipe.consistency:
            other_key = jax.random.fold_in(augment_key, len(augment.OPS) + 1)
            views.append(self._view(batch, targets[rows], other_key, mix_key)[0])
            labels, real = jnp.tile(labels, (2, 1)), jnp.tile(real, 2)
        late = index / (self.recipe.epochs * self._steps_per_epoch)

        def loss_of(params):
            outputs, seen = self.network.apply_in_training(params, jnp.concatenate(views))
            logits, features = outputs
            loss = self._classification(logits, labels, real, log_prior, late)
            if self.recipe.consistency:
                loss -= self.recipe.consistency * agreement(features, real)
            return loss, seen

        (loss, seen), gradient = self._descent(loss_of, params)
        updates, opt_state = self._optimiser.update(gradient, opt_state, params)
        params = self.network.with_seen(optax.apply_updates(params, updates), seen)
        return _State(params, opt_state, order), loss

    def _descent(self, loss_of: Callable[[Params], Any], params: Params) -> tuple[Any, Params]:
        """The loss with what it says beside, and the gradient that the recipe descends by."""
        recipe = self.recipe
        if not recipe.sharpness:
            return jax.value_and_grad(loss_of, has_aux=True)(params)
        radius, gap = recipe.sharpness, recipe.surrogate_gap
        return flat_gradient(loss_of, params, radius=radius, gap=gap)

    def _view(
        self, images: jax.Array, labels: jax.Array, augment_key: jax.Array, mix_key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Augmented and mixed images with their labels."""
        images = augment.augment_each(self.recipe.augmentation, augment_key, images)
        if not self.recipe.cutmix:
            return images, labels
        return augment.cutmix(mix_key, images, labels, self.recipe.cutmix)

    def _classification(
        self,
        logits: jax.Array,
        labels: jax.Array,
        real: jax.Array,
        log_prior: jax.Array,
        late: jax.Array,
    ) -> jax.Array:
        """The mean loss of rows that are no padding, as the recipe weighs classes.

        Args:
          logits: `[n, K]`.
          labels: `[n, K]` probabilities.
          real: `[n]`, 0 for padding.
          log_prior: `[K]`.
          late: the share of the training that is over.
        """
        if self.recipe.loss == "squared_error":
            return jnp.sum(squared_error(logits, labels) * real) / jnp.sum(real)
        logits = logits + self.recipe.logit_adjustment * log_prior
        losses = optax.softmax_cross_entropy(logits, labels)
        plain = jnp.sum(losses * real) / jnp.sum(real)
        if not self.recipe.reweighting:
            return plain
        labels = labels * jax.nn.softmax(-self.recipe.reweighting * log_prior) * real[:, None]
        weighted = jnp.sum(optax.softmax_cross_entropy(logits, labels)) / jnp.sum(labels)
        return (1 - late**2) * plain + late**2 * weighted


def squared_error(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean over classes of the squared difference between logits and those of the labels.

    Probabilities say logits up to a constant, so that of both the mean is taken off.

    Args:
      logits: `[n, K]`.
      labels: `[n, K]` probabilities; those below `LEAST` count as that.

    Returns:
      `[n]`, not negative.
    """
    gap = logits - jnp.log(jnp.maximum(labels, LEAST))
    return jnp.var(gap, axis=1)


def agreement(features: jax.Array, real: jax.Array) -> jax.Array:
    """The mean cosine between the features of two views, each in turn held fixed.

    Args:
      features: `[2 n, d]`, of one view and, in the same order, of the other.
      real: `[2 n]`, 0 for rows that do not count.
    """
    unit = features / jnp.maximum(optax.safe_norm(features, 1e-12, axis=1, keepdims=True), 1e-12)
    fixed = jax.lax.stop_gradient(jnp.roll(unit, len(unit) // 2, axis=0))
    return jnp.sum(jnp.sum(unit * fixed, axis=1) * real) / jnp.sum(real)


class _Batch(NamedTuple):
    """The images of one step, in place of all."""

    pixels: jax.Array


def _with_batch(step: Step) -> Step:
    """A step whose images are fed to it."""

    def fed(carry: Any, constants: Any, index: jax.Array) -> tuple[Any, Any]:
        (shared, own), pixels = constants
        return step(carry, ((_Batch(pixels), *shared[1:]), own), index)

    return fed


def _wait(number: int, params: Params) -> None:
    jax.block_until_ready(params)


def _chunks(epochs: int, report_every: int, per_epoch: int) -> list[tuple[int, int, int]]:
    """First step, steps and epochs done after them, from report to report."""
    ends = [*range(report_every, epochs, report_every), epochs]
    starts = [0, *ends[:-1]]
    return [
        (start * per_epoch, (end - start) * per_epoch, end)
        for start, end in zip(starts, ends, strict=True)
    ]


def _check_finite(label: str, first: int, loss: np.ndarray, params: Params) -> None:
    """Stops at the first bad loss of some steps, or at bad weights after them."""
    fault = health.first_fault({"loss": np.isfinite(loss)})
    if fault is None and not health.finite_now(params):
        fault = len(loss) - 1, "weights"
    if fault:
        raise FloatingPointError(
            f"{label}: {fault[1]} not finite at step {first + fault[0]}: lower its learning_rate, "
            "or check the images it is trained on"
        )
