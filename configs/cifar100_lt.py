"""CIFAR-100-LT: 500 images in the head class, 25 in the tail at imbalance factor 20.

Command: `python -m csdm_jax.main --config=configs/cifar100_lt.py:imb=20,ipc=10`
CPU preset: `--config=configs/cifar100_lt.py:imb=20,ipc=3,cpu`

With a mosaic of factor 2, IPC 10 starts from 40 images a class, more than the tail has: the
initialisation uses images more than once here.

Not measured yet.
"""

from csdm_jax.experiment import config as configuration
from csdm_jax.experiment import presets

CPU = {
    "network.width": 32,
    "extractors.count": 2,
    "extractors.epochs": 15,
    "extractors.learning_rate": 0.05,
    "distill.steps": 200,
    "distill.batch": 16,
}


def get_config(argument: str = ""):
    """Options: `imb` imbalance factor, `ipc` stored images per class, `cpu` two-core preset."""
    options = configuration.parse_argument(argument, imb=20.0, ipc=10, cpu=False)
    config = configuration.default_config()
    config.name = f"cifar100_lt-imb{options['imb']:g}-ipc{options['ipc']}"
    config.data.name = "cifar100"
    config.data.rule = "ltdd"
    config.data.imbalance_factor = options["imb"]
    config.distill.ipc = options["ipc"]
    config.distill.reuse_images = True
    if options["ipc"] == 1:
        config.alpha.head = config.alpha.tail = config.alpha.single = 0.11  # the paper's, balanced
    config.update_from_flattened_dict(presets.QUIET)
    if options["cpu"]:
        presets.shrink(config, CPU)
    return config
