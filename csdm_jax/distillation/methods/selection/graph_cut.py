"""Graph-Cut: images that are like their class and unlike each other, by the greedy algorithm.

    gain(i) = sum_{j of the class} s_ij - 2 sum_{j chosen} s_ij,   s_ij = 1/2 + cos(g_i, g_j) / 2

`g` is the gradient of the cross-entropy to the last layer: the outer product of the residual
`r = softmax(logits) - label` with the features and a 1. So `cos(g_i, g_j)` is the product of the
cosines of the residuals and of these features, and its sum over a class is linear in the class: no
matrix of all pairs is made.

Source: Iyer et al. 2021, Submodular Combinatorial Information Measures; Guo et al. 2022, DeepCore.
Cost: a forward pass of the training set through every extractor, O(K n_c d) for the sums of a class
of K classes and O(n_c d) for each image chosen, with each extractor.
Deviations: the similarity is the mean over the trained extractors, not that of one network; where a
residual is 0, its cosine is 0; the same for every seed. With recipe=published the extractor is
DeepCore's ResNet-18, trained for 40 epochs by a staircase near its cosine, and the networks of the
configuration are tested, by its recipe.
Licence: MIT (DeepCore).
Status: tested; published settings of DeepCore, but for the cosine.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from csdm_jax.distillation.features import each, outputs
from csdm_jax.distillation.methods.base import Context
from csdm_jax.distillation.methods.selection.published import DEEPCORE
from csdm_jax.distillation.methods.selection.selection import Selection, kind
from csdm_jax.distillation.needs import Pool
from csdm_jax.distillation.starts.base import of_every_class, real_images
from csdm_jax.training import extractors

Factors = tuple[np.ndarray, np.ndarray]
"""Unit vectors of residuals `[n, K]` and of features with a 1 `[n, d + 1]`, of one network."""


def factors(logits: np.ndarray, features: np.ndarray, label: int) -> Factors:
    """The two factors of a normalised gradient.

    Args:
      logits: float `[n, K]`.
      features: `[n, d]`, of the same type.
      label: class of all rows.
    """
    residuals = np.exp(logits - logits.max(axis=1, keepdims=True))
    residuals /= residuals.sum(axis=1, keepdims=True)
    residuals[:, label] = 0.0
    residuals[:, label] = -residuals.sum(axis=1)  # exact where 1 - p would be 0
    return _unit(residuals), _unit(np.pad(features, ((0, 0), (0, 1)), constant_values=1))


def _unit(rows: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1)


def graph_cut(networks: list[Factors], count: int) -> np.ndarray:
    """Greedy maximisation.

    Args:
      networks: for each network its factors, of the n images of one class.
      count: images to choose, 1 to n.

    Returns:
      int `[count]`, different positions in the order of choice; of equals the first.
    """
    # All similarities have a 1/2 more, the mean of the cosines 1/2 as a factor; an image of the
    # class counts its likeness to itself, too, which is 1 for all but those without a residual.
    gains = _mean([_sums(*one) for one in networks])
    chosen: list[int] = []
    for _ in range(count):
        gains[chosen] = -np.inf
        chosen.append(int(np.argmax(gains)))
        gains -= 2 * _mean([_row(*one, chosen[-1]) for one in networks])
    return np.array(chosen)


def _mean(rows: list[np.ndarray]) -> np.ndarray:
    return np.stack(rows).mean(axis=0, dtype=np.float64)


def _sums(residuals: np.ndarray, features: np.ndarray) -> np.ndarray:
    """`sum_j <r_i, r_j> <e_i, e_j>` for every i, `[n]`."""
    return np.sum((residuals @ (residuals.T @ features)) * features, axis=1)


def _row(residuals: np.ndarray, features: np.ndarray, number: int) -> np.ndarray:
    """`<r_i, r_j> <e_i, e_j>` for every i and one j, `[n]`."""
    return (residuals @ residuals[number]) * (features @ features[number])


def images(context: Context, wanted: int, key: jax.Array, pool: extractors.Pool) -> jax.Array:
    """Those images of every class; see `Selection`."""
    del key
    every = list(each(pool.trained))

    def choose(label: int, own: slice, count: int) -> np.ndarray:
        def take(some: np.ndarray) -> np.ndarray:
            return context.host.take(own.start + some)

        said = (outputs(context, params, take, own.stop - own.start) for params in every)
        return graph_cut([factors(*one, label) for one in said], count)

    return real_images(context, of_every_class(context.counts, wanted, choose))


def create(config: Any, context: Context) -> Selection:
    """Representative images of each class that are unlike each other."""
    return Selection(config, context, images)


KIND = kind(create, Pool(), published=DEEPCORE)
