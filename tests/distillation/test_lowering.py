"""Every method's whole step: for which devices it can be compiled, and what it calls there."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np
import pytest

from csdm_jax import networks, parameterisations
from csdm_jax.data.device import DeviceData
from csdm_jax.data.host import HostData
from csdm_jax.data.longtail import class_counts
from csdm_jax.data.preprocessing import Normaliser
from csdm_jax.distillation import methods
from csdm_jax.distillation.methods import base
from csdm_jax.experiment import config as configuration
from csdm_jax.training import extractors
from tests import hlo
from tests.problem import tiny_method

PAPER = Path(__file__).parent.parent.parent / "configs/cifar10_lt.py"
BACKENDS = {"cpu": "cpu", "cuda": "gpu", "tpu": "tpu"}
"""Platforms of `jax.export` and what `jax.default_backend` calls them."""

Program = tuple[Callable, tuple[Any, ...]]
"""A step and the shapes of its arguments."""


def with_shapes(method: base.Method) -> Program:
    """A method's step, of which no array is needed any more."""
    arguments = method.init(jax.random.key(0)), method.constants, np.int32(0)
    return method.step, jax.eval_shape(lambda *given: given, *arguments)


def paper_program(name: str) -> Program:
    """CIFAR-10-LT, IPC 10, 20 extractors of width 128; images and weights take no memory."""
    config = configuration.load(f"{PAPER}:imb=200,ipc=10")
    counts = class_counts(5000, 200.0, 10)
    images = np.broadcast_to(np.uint8(0), (sum(counts), 32, 32, 3))
    network = networks.create("convnet", num_classes=10, image_shape=(32, 32, 3))
    context = base.Context(
        DeviceData(jax.ShapeDtypeStruct(images.shape, images.dtype), counts),
        HostData(images, np.arange(len(images)), counts),
        network,
        jax.eval_shape(lambda: extractors.like(network, 20)),
        Normaliser((0.5,) * 3, (0.2,) * 3),
        parameterisations.create("mosaic", 2),
    )
    assert config.distill.batch == 1024 and config.sdd.num_frequencies == 4096
    return with_shapes(methods.create(name, config, context))


def foreign_calls(text: str) -> list[str]:
    """Calls of the host's Python or of LAPACK, whose threads fight XLA's.

    Orthogonal frequencies are not among the settings here.
    """
    targets = re.findall(r'custom_call(?: @|_target=")(\w+)', text)
    return [t for t in targets if re.search("callback|lapack|solver", t)]


@pytest.mark.parametrize("name", methods.METHODS)
@pytest.mark.parametrize("platform", BACKENDS)
def test_the_step_of_the_paper_lowers_and_calls_neither_python_nor_lapack(name, platform):
    step, shapes = paper_program(name)
    with mock.patch.object(jax, "default_backend", lambda: BACKENDS[platform]):  # layers ask
        exported = jax.export.export(jax.jit(step), platforms=[platform])(*shapes)
    assert exported.platforms == (platform,)
    assert not foreign_calls(exported.mlir_module())


def test_nor_does_the_compiled_step_of_a_cpu():
    step, shapes = with_shapes(tiny_method(name="csdm"))
    assert not foreign_calls(hlo.compiled(step, *shapes))
