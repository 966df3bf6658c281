"""Distribution matching: the recipe that NCFM published and CSDM keeps, for any distance.

    min_S  E_{theta, w} sum_c [scale * D_c(f_theta(A_w(R_c)), f_theta(A_w(S_c))) + CE_c]

One step draws an extractor, a ragged batch of real images (`min(n_c, batch)` of each class) and
one augmentation per class, shared by the real and the synthetic side; all classes, or as many as
`distill.classes_per_step` asks for, go through the network together. With `distill.view_uses`
above 1 that real side serves several steps, as a view: what the distance needs of it is computed
once, so that a large batch, or whole classes, cost a step nothing. `CE_c`, the calibration, is
the mean cross-entropy of the trained extractor on the synthetic images of class c: where the
published code steps class by class on `300 D_c + 1 CE_c`, a joint step has the sum of both.

The values of two distances are not of one size. So that a comparison compares distances and not
weights, `scale` follows a rule where `distill.loss_scale` is 0: before the first step the gradient
of the matching term is `distill.gradient_ratio` times that of the calibration. The number is in
the card of a run.

A method of this family is a distance. One that needs more overrides what `Matching` offers for it:
`memory` and `remember` (what its state holds beside images), `networks` (whose features are
matched), `compare` (a distance that reads the memory), `compactness` (a term on the features of the
trained extractor). Which extractors a step draws is a schedule's matter, whatever the distance:
see `csdm_jax.distillation.methods.matching.schedules`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from csdm_jax import augment
from csdm_jax.data.device import draw_class_batches
from csdm_jax.distillation.methods.base import (
    Context,
    Inputs,
    Kind,
    Metrics,
    Phase,
    Settle,
    Views,
    initial_images,
    stored_labels,
)
from csdm_jax.distillation.methods.matching import schedules
from csdm_jax.distillation.needs import Need
from csdm_jax.distillation.updates import Moments, Updates
from csdm_jax.metric import unit_features
from csdm_jax.metric.ragged import Ragged
from csdm_jax.networks import Params
from csdm_jax.parameterisations import Stored
from csdm_jax.runtime import health
from csdm_jax.runtime.fields import OPEN_UNIT, Field, choice, integer, number
from csdm_jax.runtime.seeds import root_key
from csdm_jax.sets.distilled import DistilledSet

FIELDS = {
    # Weight of the matching term; 0 follows the rule of gradient_ratio.
    "distill.loss_scale": Field(0.0, number(0.0, 1e9)),
    # Norm of the matching term's gradient before the first step, in that of the calibration's
    # (chosen on tuning images: results/ablations/tuning).
    "distill.gradient_ratio": Field(3.0, number(0.0, 1e6, open_ends=True)),
    # Weight of the calibration, the sum over the classes of their mean cross-entropy.
    "distill.calibration": Field(1.0, number(0.0, 1e6)),
    # Steps that a view of the real images serves; 1 draws a batch in every step, as published.
    "distill.view_uses": Field(1, integer(1, 1_000_000)),
    # Views that are held and take turns; they cost memory, announced when a run begins.
    "distill.views": Field(16, integer(1, 100_000)),
    # Whose features are matched: NCFM's blend, a trained network, a fresh one in every step, a
    # snapshot on the way of a training (TGDD), or a network that is trained meanwhile (IDM; a batch
    # is then drawn in every step, whatever view_uses).
    "distill.extractor": Field("blended", choice(schedules.SCHEDULES)),
    # Features on the unit sphere, or as the network gives them.
    "distill.features": Field("unit", choice(("unit", "raw"))),
    **schedules.FIELDS,
}
SCHEDULE = {  # of class weights: head and tail of `metric.class_alphas`
    "alpha.head": Field(0.7, OPEN_UNIT),
    "alpha.tail": Field(0.3, OPEN_UNIT),
}
DRAWS = 4  # of extractor, batch and augmentation, over which gradients are compared

Distance = Callable[[Any, Ragged, jax.Array], tuple[jax.Array, dict[str, jax.Array]]]
"""Features `[N, d]` of real and synthetic images and a key to (loss, numbers per class).

They are unit features, unless `distill.features` says otherwise.

In place of the real features, what `Summarise` has made of them with that key.
"""
Summarise = Callable[[Ragged, jax.Array], Any]
"""What a distance needs of the real features, computed once for a view: a pytree of arrays."""


class Real(NamedTuple):
    """The real side of a step, all that a view keeps.

    Attributes:
      sample: features, or what the method's `Summarise` makes of them.
      classes: int32 `[k]`.
      finite: bool scalar, whether all features were.
    """

    sample: Any
    classes: jax.Array
    finite: jax.Array


class _Drawn(NamedTuple):
    """What a step's key draws, beside the batch.

    Attributes:
      matched: weights of the extractor whose features are matched.
      trained: weights of the one that calibrates.
      augmentation: one entry a class.
      distance_key: for the distance.
    """

    matched: Any
    trained: Any
    augmentation: augment.Draw
    distance_key: jax.Array


class Reading(NamedTuple):
    """What a step reads beside the images that it updates.

    Attributes:
      supplied: what `needs` ask for.
      memory: of the state.
      real: images of a batch, uint8, or the real side that a view has made of one by the key.
      key: of the step.
      queue: of the state.
      numbers: as in `Inputs`.
    """

    supplied: tuple[Any, ...]
    memory: Any
    real: Real | Ragged
    key: jax.Array
    queue: Any = ()
    numbers: tuple[Any, ...] = ()


class State(NamedTuple):
    """What a run has made so far.

    Attributes:
      stored: the synthetic images.
      moments: of their updates.
      memory: the method's, if it has one.
      queue: what the schedule of extractors holds, if anything.
    """

    stored: Stored
    moments: Moments
    memory: Any = ()
    queue: Any = ()


def _network_key(key: jax.Array) -> jax.Array:
    """With which a step draws its networks."""
    return jax.random.split(key, 4)[0]


class Matching:
    """A method that matches feature distributions under `distance`.

    Args:
      config: the experiment's configuration.
      context: data, network and parameterisation.
      distance: real and synthetic features and a key to (loss, metrics per class); None for a
        method that overrides `compare`.
      summarise: what a view keeps of the real features; the features themselves if left out.
      schedule: of the extractors, in place of the configuration's `distill.extractor`.
    """

    def __init__(
        self,
        config: Any,
        context: Context,
        distance: Distance | None = None,
        summarise: Summarise = lambda real, key: real,
        schedule: str | None = None,
    ):
        if not config.distill.loss_scale:
            raise ValueError("distill.loss_scale is open: take what Kind.settle says")
        self.steps = config.distill.steps
        # Found anew for every start and pool: as a constant it would cost a compilation each.
        self.numbers = (np.float32(config.distill.loss_scale),)
        self._features = unit_features if config.distill.features == "unit" else jnp.asarray
        self._config = config.distill
        self._context = context
        self._distance, self._summarise = distance, summarise
        self.schedule = schedules.SCHEDULES[schedule or config.distill.extractor](config, context)
        first = Phase(self.step, draw=self._draw, views=self._views())
        self.phases: tuple[Phase, ...] = (first, *self.schedule.phases)
        self._augmentation = augment.Augmentation.parse(
            config.distill.augmentation, mode=config.distill.augmentation_mode
        )
        self._updates = Updates(config.distill, context.parameterisation, context.num_classes)

    def init(self, key: jax.Array, supplied: tuple[Any, ...]) -> State:
        """Synthetic images from real ones, fresh optimiser states, memory and queue."""
        stored = initial_images(self._context, self._config.ipc, key, supplied)
        more_key = jax.random.fold_in(key, 1)
        memory, queue = self.memory(more_key, supplied), self.schedule.begin(more_key)
        return State(stored, self._updates.init(stored), memory, queue)

    def memory(self, key: jax.Array, supplied: tuple[Any, ...]) -> Any:
        """What the state holds beside images and moments before the first step: nothing."""
        del key, supplied
        return ()

    def remember(self, memory: Any, synthetic: Ragged) -> Any:
        """The memory after a step, whose synthetic features these are: as it was."""
        del synthetic
        return memory

    def networks(
        self, supplied: tuple[Any, ...], memory: Any, key: jax.Array, queue: Any = ()
    ) -> tuple[Params, Params]:
        """Weights whose features are matched, and trained ones that calibrate: the schedule's.

        They may read memory and queue in a method without views alone: see `_views`.
        """
        del memory
        return self.schedule.draw(supplied, queue, key)

    def compare(
        self, real: Any, synthetic: Ragged, key: jax.Array, memory: Any
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The distance of a step; arguments as those of `Distance`, and the memory."""
        del memory
        assert self._distance is not None
        return self._distance(real, synthetic, key)

    def compactness(self, features: Ragged) -> jax.Array | None:
        """What is added to the distance, of the trained extractor's synthetic features: nothing."""
        del features
        return None

    def result(self, state: State) -> DistilledSet:
        """The synthetic images with the label of their class."""
        labels = stored_labels(self._context.num_classes, self._config.ipc)
        return self._context.distilled(state.stored, labels)

    def _draw(self, key: jax.Array) -> Ragged:
        """Which images and classes a step sees."""
        counts, config = self._context.counts, self._config
        batch_key = jax.random.split(key, 4)[1]
        return draw_class_batches(counts, batch_key, config.batch, config.classes_per_step)

    def _views(self) -> Views | None:
        """How the real side is kept; None where it serves one step."""
        if self._config.view_uses == 1 or self.schedule.changes:
            return None

        def make(inputs: Inputs) -> Real:
            assert inputs.batch is not None
            drawn = self._drawn(inputs.supplied, (), inputs.key)
            real = self._real_side(drawn, inputs.batch)
            return real._replace(sample=self._summarise(real.sample, drawn.distance_key))

        return Views(make, self._config.views, self._config.view_uses)

    def _drawn(
        self, supplied: tuple[Any, ...], memory: Any, key: jax.Array, queue: Any = ()
    ) -> _Drawn:
        _, _, augment_key, distance_key = jax.random.split(key, 4)
        shape = self._context.host.images.shape[1:]
        augmentation = augment.draw(
            self._augmentation, augment_key, self._context.num_classes, shape
        )
        networks = self.networks(supplied, memory, _network_key(key), queue)
        return _Drawn(*networks, augmentation, distance_key)

    def _real_side(self, drawn: _Drawn, batch: Ragged) -> Real:
        """Features of real images, uint8, of the classes of a step."""
        _, features = self._forward(drawn.matched, drawn.augmentation, batch, gradient=False)
        assert batch.classes is not None
        sample = batch.with_values(self._features(features))
        return Real(sample, batch.classes, health.finite(features))

    def step(self, state: State, inputs: Inputs) -> tuple[State, Metrics]:
        """One update of all synthetic images, or of those of the classes that are drawn."""
        real: Real | Ragged | None = inputs.batch if inputs.view is None else inputs.view
        assert real is not None and real.classes is not None  # this phase draws
        gradient_of = jax.value_and_grad(self.loss, has_aux=True)
        supplied, key = inputs.supplied, inputs.key
        reading = Reading(supplied, state.memory, real, key, state.queue, inputs.numbers)
        (loss, (metrics, synthetic)), gradient = gradient_of(state.stored, reading)
        stored, moments = self._updates.apply(
            state.stored, gradient, state.moments, loss, real.classes
        )
        scalars = {
            "gradient_norm": optax.tree.norm(gradient),
            "learning_rate_factor": moments.plateau.scale,
        }
        finite = {"pixels": health.finite(state.stored)} | metrics.finite
        finite |= {"gradient": health.finite(gradient), "updated pixels": health.finite(stored)}
        metrics = metrics._replace(loss=loss, scalars=metrics.scalars | scalars, finite=finite)
        memory = self.remember(state.memory, synthetic)
        return State(stored, moments, memory, state.queue), metrics

    def _forward(
        self, params: Any, drawn: augment.Draw, side: Ragged, *, gradient: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Logits and features of images under their classes' augmentation.

        Each device forwards its own rows, tile by tile; what is done to the images is done there.

        Args:
          params: of the network.
          drawn: augmentation, one entry a class.
          side: images as stored or in [0, 1].
          gradient: whether the gradient to the images will be taken.
        """
        limit, count = self._config.forward_batch, len(side.values)
        devices = self._context.devices

        def own_rows(everywhere: Any, rows: Any) -> tuple[jax.Array, jax.Array]:
            params, drawn = everywhere

            def prepare(tile: tuple[jax.Array, jax.Array]) -> jax.Array:
                images = self._context.normaliser(tile[0])
                return augment.apply(self._augmentation, drawn.take(tile[1]), images)

            return self._context.network.apply_in_tiles(
                params, rows, limit=limit, gradient=gradient, prepare=prepare
            )

        rows = devices.split_rows((side.values, side.ids))
        logits, features = devices.on_rows(own_rows)((params, drawn), rows)
        return devices.whole_rows(logits, count), devices.whole_rows(features, count)

    def sides(
        self, stored: Stored, drawn: _Drawn, real: Real | Ragged, *, gradient: bool
    ) -> tuple[Real, Ragged, Ragged]:
        """What a step compares.

        Args:
          stored: the synthetic images.
          drawn: extractors and augmentation.
          real: images of a batch, uint8, or the real side that a view has made of one.
          gradient: whether the gradient to the images will be taken.

        Returns:
          The real side, the synthetic images of its classes, decoded, and their features.
        """
        assert real.classes is not None
        classes, count = real.classes, len(real.classes)
        decoded = self._context.parameterisation.decode(self._updates.of_classes(stored, classes))
        images = Ragged(decoded, (len(decoded) // count,) * count, classes)
        if isinstance(real, Ragged):
            real = self._real_side(drawn, real)
        _, features = self._forward(drawn.matched, drawn.augmentation, images, gradient=gradient)
        return real, images, images.with_values(self._features(features))

    def terms(
        self, stored: Stored, reading: Reading
    ) -> tuple[tuple[jax.Array, jax.Array], tuple[Metrics, Ragged]]:
        """The matching term and the calibration, each a sum over the classes of the step.

        Args:
          stored: the synthetic images.
          reading: of the step.

        Returns:
          Both terms; and the step's metrics with the synthetic features that were matched.
        """
        supplied, memory, real, key, queue, _ = reading
        drawn = self._drawn(supplied, memory, key, queue)
        known, images, synthetic = self.sides(stored, drawn, real, gradient=True)
        distance, parts = self.compare(known.sample, synthetic, drawn.distance_key, memory)
        logits, features = self._forward(drawn.trained, drawn.augmentation, images, gradient=True)
        scalars = {}
        if (compact := self.compactness(images.with_values(self._features(features)))) is not None:
            distance, scalars = distance + compact, {"compactness": compact}
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels(logits, images.ids)
        calibration = images.num_classes * jnp.mean(cross_entropy)  # all have as many images
        finite = {
            "extractor weights": health.finite((drawn.matched, drawn.trained)),
            "real batch": known.finite,
        }
        which = {"classes": known.classes} if self._updates.some_classes else {}
        scalars |= {"matching": distance, "calibration": calibration}
        metrics = Metrics(distance, scalars, parts | which, finite)
        return (distance, calibration), (metrics, synthetic)

    def loss(self, stored: Stored, reading: Reading) -> tuple[jax.Array, tuple[Metrics, Ragged]]:
        """What a step minimises, with its parts; arguments as those of `terms`."""
        (distance, calibration), said = self.terms(stored, reading)
        trust = self.schedule.trust(reading.queue, _network_key(reading.key))
        weight = self._config.calibration * trust
        (scale,) = reading.numbers or self.numbers
        return scale * distance + weight * calibration, said

    def gradient_norms(self, supplied: tuple[Any, ...]) -> np.ndarray:
        """Norms of the gradients of both terms at the initial images: float64 `[DRAWS, 2]`.

        Args:
          supplied: what `needs` ask for.
        """

        @jax.jit  # of one term at a time: what takes long is to compile, on a GPU above all
        def norm(own: jax.Array, stored: Stored, reading: Reading) -> jax.Array:
            _, pullback, _ = jax.vjp(
                lambda images: self.terms(images, reading), stored, has_aux=True
            )
            return optax.tree.norm(pullback((own, 1 - own))[0])

        context, keys = self._context, jax.random.split(root_key("loss scale", 0), DRAWS + 1)
        draw_rows, copy = jax.jit(self._draw), context.devices.copy
        start = self.init(keys[0], supplied)
        stored, given, memory, queue = copy((start.stored, supplied, start.memory, start.queue))
        found = []
        for index, key in enumerate(keys[1:]):
            real, own_key = copy(self._real_of(index, key, draw_rows))
            reading = Reading(given, memory, real, own_key, queue)
            found.append([float(norm(jnp.float32(own), stored, reading)) for own in (1, 0)])
        return np.asarray(found, np.float64)

    def _real_of(
        self, index: int, key: jax.Array, draw_rows: Callable[[jax.Array], Ragged]
    ) -> tuple[Real | Ragged, jax.Array]:
        """A batch with its key; where there are sketches alone, the view of that number."""
        if self._context.sketches is not None:
            return self._context.sketches.view(index)
        rows = draw_rows(key)
        return rows.with_values(jnp.asarray(self._context.host.take(np.asarray(rows.values)))), key


Create = Callable[[Any, Context], Matching]


def kind(
    create: Create,
    fields: Mapping[str, Field] = MappingProxyType({}),
    published: Mapping[str, Any] = MappingProxyType({}),
    check: Callable[[Any], None] = lambda config: None,
    settle: Settle | None = None,
    schedule: str | None = None,
) -> Kind:
    """The entry of a method of this family; arguments as those of `Kind`, with its own fields.

    What `settle` says comes first: the loss scale depends on it. It reads a pool, so that a method
    that has one is supplied with it under every schedule. A method whose schedule of extractors is
    fixed names it as `schedule`.
    """

    def chosen(config: Any) -> str:
        return schedule or config.distill.extractor

    def needs(config: Any) -> tuple[Need, ...]:
        start, pooled = config.distill.initialisation, settle is not None
        return schedules.needs(chosen(config), start, pooled=pooled)

    def unread(config: Any) -> set[str]:
        return schedules.unread(chosen(config))

    def settle_all(config: Any, context: Context, supplied: tuple[Any, ...]) -> dict[str, Any]:
        own = settle(config, context, supplied) if settle else {}
        config = config.copy_and_resolve_references()
        config.update_from_flattened_dict(own)
        return own | _loss_scale(create, config, context, supplied)

    own = {**FIELDS, **fields}
    return Kind(create, needs, own, published, check=check, settle=settle_all, unread=unread)


def _loss_scale(
    create: Create, config: Any, context: Context, supplied: tuple[Any, ...]
) -> dict[str, Any]:
    """The rule of `distill.loss_scale`, where the configuration leaves it open."""
    if config.distill.loss_scale:
        return {}
    unscaled = config.copy_and_resolve_references()
    unscaled.distill.loss_scale = 1.0
    matching, calibration = create(unscaled, context).gradient_norms(supplied).mean(axis=0)
    if not (matching > 0 and np.isfinite([matching, calibration]).all()):
        raise ValueError(
            f"the gradients of matching and calibration have norms {matching:.3g} and "
            f"{calibration:.3g} before the first step, so that distill.gradient_ratio sets no "
            "loss scale: give distill.loss_scale, and check the data for constant images"
        )
    scale = config.distill.gradient_ratio * calibration / matching
    return {"distill.loss_scale": float(f"{scale:.3g}")}
