"""What methods share that compare what several layers of a network give.

Such a method works on a network whose features are made of all that: `told`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from csdm_jax import networks
from csdm_jax.networks import Network, Params

Tell = Callable[[jax.Array, Any], list[jax.Array]]
"""Last features `[n, d]` and maps `[n, h, w, c]` of each layer to rows `[n, a]` of each level."""


def told(network: Network, tell: Tell) -> Network:
    """The network with other features: what `tell` makes of its layers, side by side.

    Args:
      network: one that tells its maps.
      tell: of what the features consist.
    """
    with_maps = network.apply_with_maps
    assert with_maps is not None

    def apply(params: Params, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits, features, maps = with_maps(params, images)
        parts = tell(features, maps)
        return logits, jnp.concatenate([part.astype(features.dtype) for part in parts], axis=1)

    example = jax.ShapeDtypeStruct((1, *network.image_shape), jnp.float32)
    shapes = jax.eval_shape(apply, jax.eval_shape(network.init, jax.random.key(0)), example)
    return dataclasses.replace(network, apply=apply, feature_dim=shapes[1].shape[-1])


def check(method: str) -> Callable[[Any], None]:
    """What raises a ValueError when a configuration's network does not tell its maps."""

    def check_network(config: Any) -> None:
        if not getattr(networks.NETWORKS[config.network.name], "tells_maps", False):
            able = [
                n for n, module in networks.NETWORKS.items() if getattr(module, "tells_maps", 0)
            ]
            raise ValueError(
                f"network.name = {config.network.name!r} tells no maps of its layers, which the "
                f"method {method!r} compares: choose {', '.join(able)}"
            )

    return check_network
