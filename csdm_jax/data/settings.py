"""Fields of the configuration that say what is distilled."""

from __future__ import annotations

from csdm_jax import data
from csdm_jax.data.longtail import RULES
from csdm_jax.runtime.fields import SEED, TEXT, Field, choice, number

FIELDS = {
    "data.name": Field("digits", choice(data.SOURCES)),
    "data.data_dir": Field("", TEXT),
    "data.cache_dir": Field("", TEXT),
    "data.imbalance_factor": Field(100.0, number(1.0, 1e6)),
    "data.rule": Field("ltdd", choice(RULES)),
    "data.seed": Field(0, SEED),
    # Where training images stay; "auto" keeps them on the host when the device is too small.
    "data.placement": Field("auto", choice(("auto", "device", "host"))),
}
