"""One training step of the ConvNet part by part, against PyTorch that keeps its memory, too.

`python benchmarks/parts.py`: milliseconds of the value and the gradients of each convolution, of
norm with ReLU and of pooling with their way back, and of the whole network forward and backward.
PyTorch runs in a process of its own, which times itself. For a CPU. Shorter:
`--width 32 --batch 16 --repeats 2`.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import _common
import _training
import jax
import jax.numpy as jnp
import numpy as np
import optax

from csdm_jax import networks
from csdm_jax.networks import layers

SIDES = (32, 16, 8)  # of the maps that the three layers read
ROUNDS = 5  # of a part in one measurement
WHOLE = "all, forward and backward"
Part = Callable[[], Any]


def _arrays(layer: int, width: int, batch: int) -> tuple[np.ndarray, ...]:
    """Images, kernel and the gradient that comes back of a layer, counted from 1; NHWC, HWIO."""
    rng, side, channels = np.random.default_rng(layer), SIDES[layer - 1], 3 if layer == 1 else width
    shapes = (batch, side, side, channels), (3, 3, channels, width), (batch, side, side, width)
    images, kernel, back = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    return images, kernel / np.float32(3 * channels**0.5), back


def _both_ways(function: Callable[..., jax.Array], *given: jax.Array, back: jax.Array) -> Part:
    """A value and all its gradients."""

    @jax.jit
    def run(given: Any, back: jax.Array) -> Any:
        value, pullback = jax.vjp(function, *given)
        return value, pullback(back)

    return lambda: run(given, back)


def our_parts(width: int, batch: int) -> dict[str, Part]:
    """Each part in JAX, on arrays that lie ready."""
    parts: dict[str, Part] = {}
    for layer in range(1, len(SIDES) + 1):
        x, kernel, back = map(jnp.asarray, _arrays(layer, width, batch))
        to_kernel = jax.jit(lambda x, k, g: jax.vjp(lambda k: layers.same_conv(x, k), k)[1](g))
        to_input = jax.jit(lambda x, k, g: jax.vjp(lambda x: layers.same_conv(x, k), x)[1](g))
        given = (x, kernel, back)
        parts[f"conv {layer}"] = functools.partial(jax.jit(layers.same_conv), x, kernel)
        parts[f"conv {layer}, gradient to the kernel"] = functools.partial(to_kernel, *given)
        if layer > 1:
            parts[f"conv {layer}, gradient to the input"] = functools.partial(to_input, *given)
        parts[f"norm and ReLU {layer}, both ways"] = _both_ways(
            functools.partial(layers.normed, rectified=True),
            *(1 + back, jnp.ones(width), jnp.zeros(width)),
            back=back,
        )
        parts[f"pooling {layer}, both ways"] = _both_ways(
            lambda maps: layers.pool(maps, jnp.mean), 1 + back, back=back[:, ::2, ::2]
        )
    parts[WHOLE] = _our_network(width, batch)
    return parts


def _our_network(width: int, batch: int) -> Part:
    network = networks.create(
        "convnet", num_classes=_training.CLASSES, image_shape=_training.SHAPE, width=width
    )
    params, images = network.init(jax.random.key(0)), jnp.asarray(_arrays(1, width, batch)[0])
    labels = jnp.arange(batch) % _training.CLASSES

    @jax.jit
    def run(params: Any, images: jax.Array) -> Any:
        def loss(params: Any) -> jax.Array:
            logits = network.apply(params, images)[0]
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        return jax.value_and_grad(loss)(params)

    return functools.partial(run, params, images)


@functools.cache
def their_parts(width: int, batch: int) -> dict[str, Part]:
    """The same in PyTorch, under the same names; its layout, NCHW."""
    import torch
    import torch.nn.functional as F
    import torch_reference

    torch.set_num_threads(_common.cores())
    parts: dict[str, Part] = {}

    def both_ways(function: Callable[..., Any], *given: Any, back: Any) -> Part:
        given = tuple(one.clone().requires_grad_() for one in given)

        def run() -> Any:
            value = function(*given)
            return value, torch.autograd.grad(value, given, back)

        return run

    def gradient(mask: list[bool], *given: Any) -> Part:
        fixed = None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, mask
        return lambda: torch.ops.aten.convolution_backward(*given, *fixed)

    for layer in range(1, len(SIDES) + 1):
        images, kernel, gradients = _arrays(layer, width, batch)
        x, back = (torch.tensor(one.transpose(0, 3, 1, 2).copy()) for one in (images, gradients))
        weight = torch.tensor(kernel.transpose(3, 2, 0, 1).copy())
        parts[f"conv {layer}"] = functools.partial(F.conv2d, x, weight, padding=1)
        given = back, x, weight
        parts[f"conv {layer}, gradient to the kernel"] = gradient([False, True, False], *given)
        if layer > 1:
            parts[f"conv {layer}, gradient to the input"] = gradient([True, False, False], *given)
        parts[f"norm and ReLU {layer}, both ways"] = both_ways(
            lambda maps, scale, bias: F.relu(F.group_norm(maps, width, scale, bias), inplace=True),
            *(1 + back, torch.ones(width), torch.zeros(width)),
            back=back,
        )
        parts[f"pooling {layer}, both ways"] = both_ways(
            lambda maps: F.avg_pool2d(maps, 2), 1 + back, back=back[:, :, ::2, ::2].contiguous()
        )
    net, labels = torch_reference.ConvNet(width), torch.arange(batch) % _training.CLASSES
    pixels = torch.tensor(_arrays(1, width, batch)[0].transpose(0, 3, 1, 2).copy())

    def whole() -> Any:
        loss = F.cross_entropy(net(pixels), labels)
        return loss, torch.autograd.grad(loss, [*net.parameters()])

    parts[WHOLE] = whole
    return parts


def theirs(name: str, width: int, batch: int) -> float:
    """Seconds of one measurement of a part in PyTorch."""
    part = their_parts(width, batch)[name]
    start = time.perf_counter()
    for _ in range(ROUNDS):
        part()
    return time.perf_counter() - start


def ours(part: Part) -> float:
    """Seconds of one measurement of a part in JAX."""
    start = time.perf_counter()
    jax.block_until_ready([part() for _ in range(ROUNDS)])
    return time.perf_counter() - start


def _alternated(part: Part, other: Callable[[], float], repeats: int) -> dict[str, list[float]]:
    """Seconds of both in turn, after one call of each to warm up."""
    rounds = [(ours(part), other()) for _ in range(repeats + 1)]
    return dict(zip(("ours", "torch"), map(list, zip(*rounds[1:], strict=True)), strict=True))


def measure(width: int, batch: int, repeats: int) -> list[dict[str, Any]]:
    """A row for each part: milliseconds of one call."""
    rows = []
    with _training.pytorch(kept=True) as torch:
        for name, part in our_parts(width, batch).items():
            seconds = _alternated(
                part, lambda name=name: torch(theirs, name, width, batch), repeats
            )
            times = {
                side: _common.spread([1e3 * one / ROUNDS for one in own])
                for side, own in seconds.items()
            }
            ratio = _common.ratio(seconds["torch"], seconds["ours"])
            rows.append({"width": width, "part": name, **times, "torch / ours": ratio})
    return rows


def main() -> None:
    """Prints the table."""
    parser = _common.parser(__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--batch", type=int, default=128)
    options = parser.parse_args()
    if jax.default_backend() != "cpu":
        raise SystemExit("parts.py compares CPUs: set JAX_PLATFORMS=cpu")
    rows = [row for w in options.width for row in measure(w, options.batch, options.repeats)]
    _common.print_table(
        ["width", "part", "ours, ms", "PyTorch, ms", "PyTorch / ours"],
        [
            [
                *(str(row["width"]), row["part"]),
                *(_common.shown(row[name]) for name in ("ours", "torch", "torch / ours")),
            ]
            for row in rows
        ],
    )
    _common.write(options.out, "parts", vars(options), rows)


if __name__ == "__main__":
    main()
