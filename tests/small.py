"""A problem so small that its training is written out in NumPy: four pixels, two layers."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax import networks
from csdm_jax.data.host import HostData
from csdm_jax.data.preprocessing import Normaliser

COUNTS, HIDDEN = (5, 3, 1), 4
MEAN, STD = 0.4, 0.25
NORMALISER = Normaliser((MEAN,), (STD,))
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
quick = functools.partial(jax.jit, compiler_options=QUICK)
"""Compiled in half the time, for programs that run a few times."""


def init(key):
    first, last = jax.random.split(key)
    hidden = jax.random.normal(first, (4, HIDDEN))
    return {"hidden": hidden, "last": jax.random.normal(last, (HIDDEN, 3))}


def apply(params, images):
    features = jnp.tanh(images.reshape(len(images), -1) @ params["hidden"])
    return features @ params["last"], features


NETWORK = networks.Network("small", init, apply, HIDDEN, 4, (2, 2, 1))
SIZE = 4 * HIDDEN + 3 * HIDDEN
BACKBONE = np.arange(SIZE) < 4 * HIDDEN


def host():
    """Classes of five, three and one image."""
    images = np.random.default_rng(0).integers(0, 256, (sum(COUNTS), 2, 2, 1), dtype=np.uint8)
    return HostData(images, np.arange(len(images)), COUNTS)


def softmax(logits):
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def descent(theta, images, targets):
    """The gradient of the weighted cross-entropy: by the chain rule, written out."""
    x = (images.reshape(len(images), 4) - MEAN) / STD
    hidden, last = theta[: 4 * HIDDEN].reshape(4, HIDDEN), theta[4 * HIDDEN :].reshape(HIDDEN, 3)
    h = np.tanh(x @ hidden)
    off = (softmax(h @ last) * targets.sum(1, keepdims=True) - targets) / len(x)
    return np.concatenate([(x.T @ ((off @ last.T) * (1 - h**2))).ravel(), (h.T @ off).ravel()])
