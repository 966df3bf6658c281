"""What a distilled set is compared with: all real images, and as many random ones.

Neither depends on the set that is scored, beyond its number of images per class and whether its
labels are soft; so the networks are kept in a folder and serve every set that is scored later.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax.data.host import HostData
from csdm_jax.data.preprocessing import Normaliser
from csdm_jax.distillation.starts.random import initial_rows
from csdm_jax.evaluation import evaluate
from csdm_jax.experiment.experiment import Experiment
from csdm_jax.experiment.sections import Kind
from csdm_jax.networks import Network
from csdm_jax.runtime.seeds import root_key
from csdm_jax.storage import files
from csdm_jax.training.extractors import Pool

Params = Any


@dataclasses.dataclass(frozen=True, eq=False)  # hashable: one object is one set
class RealSet:
    """A real training set.

    Attributes:
      name: for tables.
      images: its images and labels.
      identity: what tells it from others.
    """

    name: str
    images: HostData
    identity: dict[str, Any]


def real_sets(experiment: Experiment) -> list[RealSet]:
    """The whole training set of an experiment's data, and the long-tailed one where it differs.

    The whole one is called balanced where a long tail was cut from it; where every image is kept it
    may be long-tailed itself.
    While tuning, the long-tailed one alone: the rest of the training images are what is tested on.
    """
    if experiment.config.evaluate.on == "tuning":
        return [RealSet("long-tailed", experiment.host, experiment.data_identity)]
    whole = HostData.whole(experiment.dataset)
    identity = {
        "name": experiment.dataset.name,
        "rule": "all training images",
        "counts": list(whole.counts),
        "images_sha256": whole.sha256(),
    }
    part = len(experiment.host) < len(whole)
    sets = [RealSet("balanced" if part else "all images", whole, identity)]
    if part:
        sets.append(RealSet("long-tailed", experiment.host, experiment.data_identity))
    return sets


class References:
    """Networks trained on real images: found in a folder, or trained and kept there.

    Args:
      experiment: data, networks and recipes.
      folder: where they are kept.
    """

    def __init__(self, experiment: Experiment, folder: Path):
        self._experiment = experiment
        self.folder = folder
        self.sets = real_sets(experiment)

    def full(self, architecture: str, real: RealSet) -> list[float]:
        """Accuracy in percent of networks trained on all images of a set.

        They are trained as extractors are, by the recipe and the epochs of `config.extractors`:
        the evaluation's epochs are meant for a few hundred images. One network for each evaluation
        network.
        """
        network = self._experiment.create_network(architecture)
        pool = self._pool(architecture, real)
        return [overall for overall, _ in self._experiment.pool_accuracies(network, pool)]

    @functools.cache  # noqa: B019 (they live as long as the program)
    def _pool(self, architecture: str, real: RealSet) -> Pool:
        experiment = self._experiment
        return experiment.supplies.train_pool(
            experiment.create_network(architecture),
            real.images,
            real.identity,
            folder=self.folder / "full",
            count=experiment.config.evaluate.count,
            on_host=experiment.config.data.placement == "host",
        )

    def random(
        self,
        architecture: str,
        real: RealSet,
        per_class: Sequence[int],
        *,
        soft: bool,
        augmented: bool,
    ) -> list[float]:
        """Accuracy in percent of evaluation networks trained on random real images.

        Every network has its own draw, so that the spread over networks includes that of the draw.

        Args:
          architecture: a name of `csdm_jax.networks`.
          real: where the images come from. A class with fewer images than are wanted is used
            whole, again and again.
          per_class: images of each class.
          soft: whether the images get soft labels: the class probabilities that the network of
            `full` with the same number gives them. So does DD-Ranking for a set with soft labels,
            as IOR is to show what images are worth beyond that. Hard labels otherwise.
          augmented: whether with the augmentation of the evaluation, or without.
        """
        kept = self._kept(architecture, real, per_class, soft=soft, augmented=augmented)
        accuracies = []
        for number, seed in enumerate(self._experiment.evaluation_seeds):
            images, targets = self._draw(real, per_class, seed)
            if soft:
                targets = self._taught(architecture, real, number, images)
            (result,) = self._experiment.evaluate(
                architecture,
                images,
                targets,
                kept=kept,
                label=f"random, {real.name}, {architecture}{'' if augmented else ', plain'}",
                seeds=range(seed, seed + 1),
                kind=Kind(augmented, soft=soft),
            )
            accuracies.append(result.last)
        return accuracies

    def _kept(
        self,
        architecture: str,
        real: RealSet,
        per_class: Sequence[int],
        *,
        soft: bool,
        augmented: bool,
    ) -> evaluate.ResultStore:
        """Where the networks of one kind of random images are kept."""
        experiment = self._experiment
        identity = {
            "network": architecture,
            "per_class": list(per_class),
            "labels": "hard",
            "settings": experiment.evaluation_settings(Kind(augmented, soft=soft))
            | {"data": real.identity},
        }
        if soft:
            network = experiment.create_network(architecture)
            identity["labels"] = {
                "teachers": experiment.supplies.pool_description(network, real.identity),
                "first_seed": experiment.evaluation_seeds[0],
            }
        return evaluate.ResultStore(
            self.folder / "random" / files.json_digest(identity)[:16], identity
        )

    def _draw(
        self, real: RealSet, per_class: Sequence[int], seed: int
    ) -> tuple[jax.Array, jax.Array]:
        """Random real images `[n, H, W, ch]` in [0, 1], class-major, and targets `[n, K]`."""
        rows = initial_rows(real.images.counts, per_class, root_key("reference", seed))
        # Floats, as a distilled set's images are: the compiled step of its networks serves here.
        images = jnp.asarray(real.images.take(rows), jnp.float32) / 255.0
        labels = np.repeat(np.arange(len(per_class)), per_class)
        return images, jax.nn.one_hot(labels, len(per_class))

    def _taught(
        self, architecture: str, real: RealSet, number: int, images: jax.Array
    ) -> jax.Array:
        """Class probabilities `[n, K]` by a network trained on all images of the set."""
        pool = self._pool(architecture, real)
        return _probabilities(
            jax.tree.map(lambda leaf: leaf[number], pool.trained),
            images,
            network=self._experiment.create_network(architecture),
            normaliser=self._experiment.normaliser,
        )


@functools.partial(jax.jit, static_argnames=("network", "normaliser"))
def _probabilities(
    params: Params, images: jax.Array, *, network: Network, normaliser: Normaliser
) -> jax.Array:
    logits, _ = network.apply_in_tiles(
        params, images, limit=evaluate.TEST_BATCH, gradient=False, prepare=normaliser
    )
    return jax.nn.softmax(logits)
