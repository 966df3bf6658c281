"""Fields of the configuration that say what is distilled."""

from __future__ import annotations

import re
from typing import Any

from csdm_jax import data
from csdm_jax.data import longtail, reading
from csdm_jax.runtime.fields import SEED, TEXT, Field, Rule, choice, integer, number


def _is_count(one: Any) -> bool:
    if isinstance(one, str):
        digits = re.fullmatch(r".*:0*([1-9][0-9]{0,9})", one, re.DOTALL)
        one = int(digits[1]) if digits else 0
    return isinstance(one, int) and not isinstance(one, bool) and 1 <= one < 2**31


COUNTS = Rule(
    "a tuple of numbers from 1 to 2147483647, one a class in label order, or of 'class:number'",
    lambda v: isinstance(v, tuple) and all(map(_is_count, v)),
)
FIELDS = {
    "data.name": Field("digits", choice(data.ALL)),
    "data.data_dir": Field("", TEXT),
    "data.cache_dir": Field("", TEXT),
    # Own data are read at one size, with test images held out where there are none.
    "data.image_size": Field(0, integer(0, 4096)),
    "data.resize": Field("crop", choice(reading.RESIZES)),
    "data.holdout": Field(0.0, number(0.0, 0.9)),
    # Which training images are kept: "auto" is every one of own data, LTDD's rule otherwise.
    "data.rule": Field(longtail.AUTO, choice(longtail.NAMES)),
    "data.imbalance_factor": Field(longtail.DEFAULT_FACTOR, number(1.0, 1e6)),
    "data.head_first": Field("label", choice(longtail.HEADS)),
    "data.counts": Field((), COUNTS),
    "data.indices_file": Field("", TEXT),
    "data.seed": Field(0, SEED),
    # Where training images stay; "auto" keeps them on the host when the device is too small.
    "data.placement": Field("auto", choice(("auto", "device", "host"))),
}
