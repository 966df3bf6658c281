"""Fields of the configuration that say which network is trained."""

from __future__ import annotations

from csdm_jax import networks
from csdm_jax.runtime.fields import Field, choice, integer

FIELDS = {
    "network.name": Field("convnet", choice(networks.NETWORKS)),
    "network.depth": Field(3, integer(1, 8)),
    "network.width": Field(128, integer(1, 4096)),  # 128 is the published one, for every network
}
