"""One distillation step against the PyTorch reference, in turn, in one run.

`python benchmarks/step.py` runs widths 32 and 128 at imbalance factors 1, 100 and 200 with the
recipe's real batch of 1024 per class (width 128, factor 1: 10240 images a step). A part of it:
`python benchmarks/step.py --width 32 --imbalance 100 200 --batch 256 --repeats 3`. On a GPU with
the peak of device memory, of JAX and of PyTorch. `--load 2` beside two busy processes.

With `--view_uses 32 --views 8` ours keeps views of the real images, of `--batch` a class as before
or of more (`--view_batch 5000`: whole classes). Its seconds are then a mean over `view_uses` steps
in which one view is drawn anew, as in every run of as many steps; with `--held` in none.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import _common
import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax import networks
from csdm_jax.data.device import to_device
from csdm_jax.data.host import HostData
from csdm_jax.data.longtail import class_counts
from csdm_jax.data.preprocessing import Normaliser
from csdm_jax.distillation import methods
from csdm_jax.distillation.loop import Loop
from csdm_jax.experiment import config as configuration
from csdm_jax.runtime.sharding import ONE_DEVICE, Devices
from csdm_jax.training import extractors

CLASSES, IPC, FREQUENCIES, HEAD = 10, 10, 4096, 5000


def random_images(counts: tuple[int, ...]) -> np.ndarray:
    """uint8 noise [N, 32, 32, 3]: a step's time does not depend on what is shown."""
    return np.random.default_rng(0).integers(0, 256, (sum(counts), 32, 32, 3), np.uint8)


def ours(
    counts: tuple[int, ...],
    options: argparse.Namespace,
    width: int,
    devices: Devices = ONE_DEVICE,
    classes_per_step: int = 0,
) -> Callable[[], Any]:
    """A function that makes `steps_of(options)` steps."""
    config = configuration.default_config()
    config.distill.ipc, config.distill.batch = IPC, options.view_batch or options.batch
    config.distill.views, config.distill.view_uses = options.views, options.view_uses
    config.sdd.estimator = options.estimator
    config.distill.classes_per_step = classes_per_step
    config.distill.loss_scale = 300.0  # as in the reference
    config.sdd.num_frequencies = options.frequencies
    config.sdd.frequency_method = options.frequency_method
    network = networks.create(
        "convnet",
        num_classes=len(counts),
        image_shape=(32, 32, 3),
        width=width,
        dtype=jnp.bfloat16 if options.bfloat16 else jnp.float32,
    )
    params = [network.init(jax.random.key(k)) for k in range(4)]
    stack = [jax.tree.map(lambda *x: jnp.stack(x), *params[i : i + 2]) for i in (0, 2)]
    host = HostData(random_images(counts), np.arange(sum(counts)), counts)
    normaliser = Normaliser((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
    context = methods.base.Context(host, network, normaliser, ("mosaic", 2), devices)
    method = methods.create("csdm", config, context)
    loop = Loop(method, to_device(host, devices), (extractors.Pool(*stack),), devices)
    state, constants, _ = loop.begin(jax.random.key(0))
    carry, done = loop.carry(devices.copy(state), constants), 0

    def steps(count: int) -> Any:
        nonlocal carry, done
        carry, (metrics,) = loop.stepper(carry, constants, done, count)
        done += count
        return metrics.loss

    if options.view_uses > 1:
        steps(options.views)  # every view is new

    return lambda: steps(steps_of(options))


def steps_of(options: argparse.Namespace) -> int:
    """Steps of ours between two looks at the clock: in as many one view is drawn anew."""
    return options.steps if options.held else max(options.steps, options.view_uses)


def reference(
    counts: tuple[int, ...], options: argparse.Namespace, width: int
) -> Callable[[], Any]:
    """The same in PyTorch."""
    import torch
    import torch_reference

    torch.set_num_threads(_common.cores())
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    step = torch_reference.Step(
        torch.from_numpy(random_images(counts)).permute(0, 3, 1, 2).contiguous(),
        counts,
        ipc=IPC,
        width=width,
        batch=options.batch,
        frequencies=options.frequencies,
        device="cpu" if jax.default_backend() == "cpu" else "cuda",
        autocast=options.bfloat16,
    )

    def run() -> None:
        for _ in range(options.steps):
            step()

    return run


def torch_peak() -> float | None:
    """MiB at PyTorch's peak in this row; None without a GPU."""
    import torch

    return torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None


def measure(options: argparse.Namespace, width: int, imbalance: float) -> dict[str, Any]:
    """One row: seconds a step of both, their ratio, and their peaks on an accelerator."""
    counts, before = class_counts(HEAD, imbalance, CLASSES), _common.device_peak()
    made = {"ours": ours, "torch": reference}
    seconds = _common.alternated(
        {name: made[name](counts, options, width) for name in options.only}, options.repeats
    )
    steps = {"ours": steps_of(options), "torch": options.steps}
    per_step = {name: [s / steps[name] for s in values] for name, values in seconds.items()}
    both = len(per_step) == len(made)
    peak = _common.device_peak()
    return {
        "width": width,
        "imbalance": imbalance,
        "real_images": sum(min(count, options.batch) for count in counts),
        "peak_mib": None if peak == before else peak,  # an earlier row's peak is not this one's
        "torch_peak_mib": torch_peak() if "torch" in options.only else None,
        **{name: _common.spread(values) for name, values in per_step.items()},
        **({"ratio": _common.ratio(per_step["torch"], per_step["ours"])} if both else {}),
    }


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = _common.parser(__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--imbalance", type=float, nargs="+", default=[1.0, 100.0, 200.0])
    parser.add_argument("--batch", type=int, default=1024, help="real images per class")
    parser.add_argument("--frequencies", type=int, default=FREQUENCIES)
    parser.add_argument("--frequency_method", default="iid", help="ours; PyTorch draws iid ones")
    parser.add_argument("--views", type=int, default=8, help="views that are held, of ours")
    parser.add_argument("--view_uses", type=int, default=1, help="steps that a view serves")
    parser.add_argument("--view_batch", type=int, default=0, help="images of a class; 0: --batch")
    parser.add_argument("--held", action="store_true", help="time steps that draw no view")
    parser.add_argument("--estimator", default="spectral", help="of SDD, ours")
    parser.add_argument("--only", nargs="+", choices=["ours", "torch"], default=["ours", "torch"])
    _common.add_load(parser)
    parser.add_argument("--bfloat16", action="store_true", help="networks in bfloat16, both sides")
    parser.add_argument(
        "--steps", type=int, default=1 if jax.default_backend() == "cpu" else 10,
        help="steps between two looks at the clock",
    )  # fmt: skip
    return parser.parse_args(given)


def main() -> None:
    """Prints the table."""
    options, rows = arguments(), []

    def lines() -> Iterator[list[str]]:
        # The smallest batch first: JAX cannot forget a device's peak, which only grows.
        factors = sorted(options.imbalance, reverse=True)
        for width, imbalance in itertools.product(sorted(options.width), factors):
            row = measure(options, width, imbalance)
            rows.append(row)
            _common.save(options.out, "step", vars(options), rows)
            cells = [
                _common.shown(row[name]) if name in row else "-"
                for name in ("ours", "torch", "ratio")
            ]
            cells += [_common.mib(row[name]) for name in ("peak_mib", "torch_peak_mib")]
            yield [str(width), f"{imbalance:g}", str(row["real_images"]), *cells]

    header = ["width", "IF", "real images", "ours, s/step", "PyTorch, s/step", "PyTorch / ours"]
    with _common.busy(options.load):
        _common.print_table([*header, "ours, device MiB", "PyTorch, device MiB"], lines())
    _common.write(options.out, "step", vars(options), rows)


if __name__ == "__main__":
    main()
