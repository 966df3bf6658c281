"""Herding: the images whose running mean of features stays closest to the mean of their class.

    i_k = argmin_i || mean - (f_i + sum of the chosen) / k ||

The widely copied code of a coreset library takes the argmax, the opposite.

Source: Welling 2009, Herding Dynamical Weights to Learn; as a coreset: Rebuffi et al. 2017, iCaRL.
Cost: a forward pass of the training set through every extractor, O(n_c d) for each image chosen.
Deviations: features are the mean over the trained extractors, not those of one network; the same
for every seed. With recipe=published that network is DeepCore's ResNet-18, trained for 40 epochs by
a staircase near its cosine, and the networks of the configuration are tested, by its recipe.
Licence: MIT (DeepCore).
Status: tested; published form not reproducible: DeepCore reads features of a network trained on
ImageNet.
"""

from __future__ import annotations

from typing import Any

from csdm_jax.distillation.methods.base import Context
from csdm_jax.distillation.methods.selection.published import DEEPCORE
from csdm_jax.distillation.methods.selection.selection import Selection, kind
from csdm_jax.distillation.needs import Pool
from csdm_jax.distillation.starts import herding


def create(config: Any, context: Context) -> Selection:
    """Greedy matching of each class's mean feature."""
    return Selection(config, context, herding.images)


KIND = kind(create, Pool(), published=DEEPCORE)
