"""What the benchmarks of classifier training share: noise images, our trainer, PyTorch's data."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import _common
import jax
import numpy as np

from csdm_jax import networks
from csdm_jax.augment import Augmentation
from csdm_jax.data.preprocessing import Normaliser
from csdm_jax.runtime import heap
from csdm_jax.training import parallel
from csdm_jax.training.trainer import Recipe, Trainer

CLASSES, SHAPE = 10, (32, 32, 3)


def noise(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 images and labels: time does not depend on what is shown."""
    rng = np.random.default_rng(seed)
    return (
        rng.integers(0, 256, (count, *SHAPE), np.uint8),
        rng.integers(0, CLASSES, count).astype(np.int32),
    )


def trainer(width: int, epochs: int, batch: int, strategy: str = parallel.AUTO) -> Trainer:
    """AdamW without augmentation, which both sides would compute differently."""
    recipe = Recipe(
        epochs=epochs,
        batch=batch,
        optimiser="adamw",
        learning_rate=1e-3,
        momentum=0.9,
        weight_decay=5e-4,
        decay_at=(),
        decay=1.0,
        augmentation=Augmentation(),
        cutmix=0.0,
    )
    network = networks.create("convnet", num_classes=CLASSES, image_shape=SHAPE, width=width)
    normaliser = Normaliser((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
    return Trainer(network, recipe, normaliser, strategy)


@contextlib.contextmanager
def pytorch(kept: bool) -> Iterator[Callable[..., Any]]:
    """Calls functions in a process of PyTorch's own.

    Args:
      kept: whether that process keeps the memory it frees, as ours does; or gives it back, as
        programs that say nothing about it do.
    """
    own = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, own, heap.keep if kept else None) as pool:
        yield lambda function, *given: pool.submit(function, *given).result()


@functools.cache
def torch_data(count: int, seed: int) -> tuple[Any, Any]:
    """`noise` for PyTorch, on the same kind of device, its threads set to the cores we use."""
    import torch

    torch.set_num_threads(_common.cores())
    device = "cpu" if jax.default_backend() == "cpu" else "cuda"
    images, labels = noise(count, seed)
    pixels = torch.tensor(images.transpose(0, 3, 1, 2).copy(), device=device)
    return pixels, torch.tensor(labels, dtype=torch.long, device=device)
