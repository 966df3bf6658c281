"""Networks: pure functions from images to logits and features, parameters as plain pytrees."""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from csdm_jax.networks import layers
from csdm_jax.networks.alexnet import AlexNet
from csdm_jax.networks.convnet import ConvNet, ConvNetBatchNorm
from csdm_jax.networks.convnet_doubling import ConvNetDoubling
from csdm_jax.networks.resnet import ResNet18
from csdm_jax.networks.vgg import VGG11
from csdm_jax.runtime.registry import Registry

Params = Any
"""Parameters: nested dicts of arrays."""

CPU_TILE_BYTES, CPU_GRADIENT_TILE_BYTES = 2**24, 2**22

NETWORKS: Registry[type[nn.Module]] = Registry(
    "network",
    "csdm_jax.networks",
    {
        "convnet": ConvNet,
        "resnet18": ResNet18,
        "vgg11": VGG11,
        "alexnet": AlexNet,
        "convnet_batch_norm": ConvNetBatchNorm,
        "convnet_doubling": ConvNetDoubling,
    },
)
"""Modules that are made by `num_classes` (and `width`, where they have one), have `min_side`, the
smallest side of an image, and map `[n, H, W, ch]` to logits and features. One with batch norm
(`layers.batch_norm`) has `keeps_statistics = True`."""


def _untold(params: Params, images: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
    raise ValueError("this network does not tell of its convolutions: make it by networks.create")


@dataclasses.dataclass(frozen=True)
class Network:
    """A network for images of one shape.

    Attributes:
      name: its key in `NETWORKS`.
      init: key -> parameters, float32.
      apply: (parameters, images [n, H, W, c], normalised) -> (logits [n, K], features [n, d]),
        both float32 or wider; the features are the input of the last linear layer.
      feature_dim: length d of a feature vector.
      largest_map: numbers in the largest intermediate array, per image.
      image_shape: (height, width, channels) of its images.
      apply_with_maps: like `apply`, and with a third output, what each layer gives, [n, h, w, c]
        in order; None for a network that does not tell.
      apply_with_convolutions: likewise with the input and the output of each convolution.
      apply_writing: (parameters, images) -> `apply`'s outputs with the statistics of this batch,
        and parameters whose running statistics have moved towards them; None for a network that
        keeps none.
    """

    name: str
    init: Callable[[jax.Array], Params]
    apply: Callable[[Params, jax.Array], tuple[jax.Array, jax.Array]]
    feature_dim: int
    largest_map: int = 1
    image_shape: tuple[int, ...] = ()
    apply_with_maps: Callable[[Params, jax.Array], tuple[jax.Array, jax.Array, Any]] | None = None
    apply_with_convolutions: Callable[[Params, jax.Array], tuple[jax.Array, jax.Array, Any]] = (
        _untold
    )
    apply_writing: Callable[[Params, jax.Array], tuple[Any, Params]] | None = None

    def apply_in_training(self, params: Params, images: jax.Array) -> tuple[Any, Params | None]:
        """`apply` as training has it, and the statistics that it has seen, for `with_seen`."""
        if self.apply_writing is None:
            return self.apply(params, images), None
        return self.apply_writing(params, images)

    def with_seen(self, params: Params, seen: Params | None) -> Params:
        """Updated parameters with the statistics that `apply_in_training` gave."""
        if seen is None:
            return params

        def chosen(path: Any, own: jax.Array, other: jax.Array) -> jax.Array:
            return other if path[-1].key in layers.STATISTICS else own

        return jax.tree_util.tree_map_with_path(chosen, params, seen)

    def tile(self, *, gradient: bool) -> int | None:
        """Images at a time at which a CPU is fastest; None, all of them, on an accelerator.

        The arrays between two layers then stay in the cache: see benchmarks/README.md.
        """
        if jax.default_backend() != "cpu":
            return None
        room = CPU_GRADIENT_TILE_BYTES if gradient else CPU_TILE_BYTES
        return max(1, room // (4 * self.largest_map))

    def _apply_marked(self, params: Params, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """`apply`, whose features are NaN for an image that is not finite.

        On a CPU XLA takes max(NaN, 0) for 0: behind a ReLU a bad image would look like a good one.
        """
        logits, features = self.apply(params, images)
        mark = 0.0 * jnp.sum(jax.lax.stop_gradient(images), axis=(1, 2, 3))
        return logits, features + mark[:, None].astype(features.dtype)

    def apply_in_tiles(
        self,
        params: Params,
        rows: Any,
        *,
        limit: int,
        gradient: bool,
        prepare: Callable[[Any], jax.Array] = lambda images: images,
    ) -> tuple[jax.Array, jax.Array]:
        """`apply`, a tile and at most `limit` images at a time; the same values.

        Args:
          params: of the network. Not for their gradient: inside a loop a convolution's gradient
            to its kernel is slow on a CPU.
          rows: images [n, H, W, c], normalised; or what `prepare` makes such images of, arrays
            with a first axis of n.
          limit: most images at a time, to bound memory.
          gradient: whether the gradient to the images will be taken, which wants smaller tiles.
          prepare: applied tile by tile, so that its arrays stay in the cache too.

        Returns:
          Logits [n, K] and features [n, d], float32 or wider; NaN features for an image that is not
          finite.
        """
        most = min(limit, self.tile(gradient=gradient) or limit)
        length = len(jax.tree.leaves(rows)[0])
        count = math.ceil(length / most)
        if count == 1:
            return self._apply_marked(params, prepare(rows))
        size = math.ceil(length / count)

        def tiled(array: jax.Array) -> jax.Array:
            padding = jnp.zeros((count * size - length, *array.shape[1:]), array.dtype)
            return jnp.concatenate([array, padding]).reshape(count, size, *array.shape[1:])

        tiles = jax.tree.map(tiled, rows)
        outputs = jax.lax.map(lambda tile: self._apply_marked(params, prepare(tile)), tiles)
        return jax.tree.map(lambda y: y.reshape(-1, y.shape[-1])[:length], outputs)


def last_layer(network: Network) -> Params:
    """Which parameters the logits depend on and the features do not: those of the classifier.

    Returns:
      A pytree of bools like the parameters.

    Raises:
      ValueError: for a network that does not tell, such as one whose `apply` is compiled.
    """
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    image = jax.ShapeDtypeStruct((1, *network.image_shape), jnp.float32)
    program = jax.make_jaxpr(lambda params, x: network.apply(params, x)[1])(shapes, image).jaxpr
    needed = set(program.outvars)
    for line in reversed(program.eqns):
        if needed & set(line.outvars):
            needed |= {one for one in line.invars if isinstance(one, jax.extend.core.Var)}
    leaves, tree = jax.tree.flatten(shapes)
    last = [one not in needed for one in program.invars[: len(leaves)]]
    if not any(last):
        raise ValueError(
            f"the features of {network.name} depend on all its parameters, as far as can be seen: "
            "let its apply be no compiled function, and give the input of the last layer"
        )
    return jax.tree.unflatten(tree, last)


def create(
    name: str,
    *,
    num_classes: int,
    image_shape: tuple[int, int, int],
    dtype: DTypeLike = jnp.float32,
    **options: int,
) -> Network:
    """The network called `name`; equal arguments give the same object, so `jit` caches hit.

    Args:
      name: a key of `NETWORKS`.
      num_classes: number of logits K.
      image_shape: (height, width, channels).
      dtype: floating type of the computation; parameters stay float32, and logits and features
        are returned in float32 or wider.
      **options: `width`, 128 for the published network; `depth` of a ConvNet.

    Returns:
      The network.

    Raises:
      ValueError: for an unknown name or option, a size below 1, a dtype that is not floating, or
        images too small for the network.

    Source: DatasetCondensation (Zhao et al., 2021) with instance norm, PyTorch's initialisation.
    """
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name!r}: choose one of {', '.join(NETWORKS)}")
    own = {field.name for field in dataclasses.fields(NETWORKS[name])}
    valid = sorted(own - {"num_classes", "parent", "name"})
    for option in options:
        if option not in valid:
            known = ", ".join(valid) if valid else "none"
            raise ValueError(f"{name} has no option {option!r}; its options: {known}")
    for argument, size in {"num_classes": num_classes, **options}.items():
        if not isinstance(size, numbers.Integral) or size < 1:
            raise ValueError(f"{argument} must be an integer of at least 1, got {size!r}")
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"dtype must be floating, such as bfloat16, got {dtype!r}")
    module = NETWORKS[name](num_classes=num_classes, **options)
    return _build(name, module, tuple(image_shape), jnp.dtype(dtype))


def _telling(
    run: Callable[..., Any], params: Params, images: jax.Array
) -> tuple[jax.Array, jax.Array, Any]:
    """What `run` gives, with the input and the output of each convolution on the way."""
    seen: list[tuple[jax.Array, jax.Array]] = []

    def look(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        given = call(*args, **kwargs)
        if isinstance(context.module, nn.Conv) and context.method_name == "__call__":
            seen.append((args[0], given))
        return given

    with nn.intercept_methods(look):
        logits, features = run(params, images)
    return logits, features, tuple(seen)


@functools.cache
def _build(name: str, module: nn.Module, image_shape: tuple[int, ...], dtype: jnp.dtype) -> Network:
    """Binds a module to one image shape; cached, so that defaults given or left out agree."""
    if len(image_shape) != 3 or min(image_shape) < 1:
        raise ValueError(f"image_shape must be (height, width, channels), got {image_shape}")
    if min(image_shape[:2]) < module.min_side:
        size = f"{image_shape[0]}x{image_shape[1]}"
        depth = f" of depth {module.depth}" if hasattr(module, "depth") else ""
        raise ValueError(
            f"{name}{depth} needs images of at least {module.min_side}x{module.min_side}, got "
            f"{size}: take larger images or a shallower network"
        )
    example = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    (_, features), variables = jax.eval_shape(
        functools.partial(module.init_with_output, capture_intermediates=True),
        jax.random.key(0),
        example,
    )
    largest_map = max(leaf.size for leaf in jax.tree.leaves(variables["intermediates"]))

    @jax.jit
    def init(key: jax.Array) -> Params:
        return module.init(key, jnp.zeros(example.shape, example.dtype))["params"]

    def run(params: Params, images: jax.Array, **options: Any) -> Any:
        if images.ndim != 4 or images.shape[1:] != image_shape:
            raise ValueError(
                f"{name} was created for images [n, {', '.join(map(str, image_shape))}], got "
                f"{list(images.shape)}: create it with the image_shape of the data"
            )
        params = jax.tree.map(lambda p: p.astype(dtype), params)
        outputs = module.apply({"params": params}, images.astype(dtype), **options)
        return jax.tree.map(lambda y: y.astype(np.promote_types(dtype, np.float32)), outputs)

    def apply(params: Params, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        return run(params, images)

    def apply_with_maps(params: Params, images: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        (logits, features), said = run(params, images, mutable=[layers.MAPS])
        return logits, features, said[layers.MAPS]["map"]

    def apply_writing(params: Params, images: jax.Array) -> tuple[Any, Params]:
        outputs, written = run(params, images, mutable=["params"])
        return outputs, written["params"]

    return Network(
        name,
        init,
        apply,
        features.shape[-1],
        largest_map,
        image_shape,
        apply_with_maps if getattr(module, "tells_maps", False) else None,
        functools.partial(_telling, run),
        apply_writing if getattr(module, "keeps_statistics", False) else None,
    )
