"""CIFAR-100-LT: 500 images in the head class, 25 in the tail at imbalance factor 20.

Command: `python -m csdm_jax.main --config=configs/cifar100_lt.py:imb=20,ipc=10`
CPU preset: `--config=configs/cifar100_lt.py:imb=20,ipc=3,cpu`

With a mosaic of factor 2, IPC 10 starts from 40 images a class, more than the tail has: the
initialisation uses images more than once here.

Not measured yet.
"""

from csdm_jax.experiment import config as configuration


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
    if options["cpu"]:
        config.name += "-cpu"
        _shrink(config)
    return config


def _shrink(config):
    """The method at a size that two cores finish: narrower, fewer, shorter."""
    config.network.width = 32
    config.extractors.count = 2
    config.extractors.epochs = 15
    config.extractors.learning_rate = 0.05
    config.extractors.cutmix = 0.0
    config.distill.steps = 200
    config.distill.log_every = 10
    config.distill.checkpoint_every = 50
    config.distill.batch = 16
    config.distill.learning_rate = 3e-3
    config.sdd.num_frequencies = 512
    config.evaluate.count = 2
    config.evaluate.epochs = 60
    config.evaluate.check_every = 20
