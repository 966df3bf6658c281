"""CIFAR-10-LT: 5000 images in the head class, 50 in the tail at imbalance factor 100.

Command: `python -m csdm_jax.main --config=configs/cifar10_lt.py:imb=100,ipc=10`
CPU preset: `--config=configs/cifar10_lt.py:imb=100,ipc=10,cpu`
Results of the CPU preset: results/cifar10_lt/README.md. The default has not been measured yet.
"""

from csdm_jax.experiment import config as configuration


def get_config(argument: str = ""):
    """Options: `imb` imbalance factor, `ipc` stored images per class, `cpu` two-core preset."""
    options = configuration.parse_argument(argument, imb=100.0, ipc=10, cpu=False)
    config = configuration.default_config()
    config.name = f"cifar10_lt-imb{options['imb']:g}-ipc{options['ipc']}"
    config.data.name = "cifar10"
    config.data.imbalance_factor = options["imb"]
    config.data.rule = "ltdd"
    config.distill.ipc = options["ipc"]
    config.distill.reuse_images = True  # IPC 50 starts from 200 images a class; the tail has fewer
    if options["ipc"] == 1:
        config.alpha.head = config.alpha.tail = config.alpha.single = 0.11  # the paper's, balanced
    if options["cpu"]:
        config.name += "-cpu"
        _shrink(config)
    return config


def _shrink(config):
    """The method at a size that two cores finish: narrower, fewer, shorter."""
    config.network.width = 32
    config.extractors.count = 3
    config.extractors.epochs = 20
    config.extractors.learning_rate = 0.05
    config.extractors.augmentation = "flip_color_crop"
    config.extractors.cutmix = 0.0  # it pays after many more epochs only
    config.extractors.logit_adjustment = 1.0  # plain extractors give up the tail: see results
    config.distill.steps = 400
    config.distill.log_every = 20
    config.distill.checkpoint_every = 50
    config.distill.batch = 64
    config.distill.learning_rate = 3e-3
    config.distill.loss_scale = 30.0  # at 300 the short run leaves calibration no say
    config.sdd.num_frequencies = 1024
    config.sdd.frequency_method = "orthogonal"  # twice as many as dimensions (512)
    config.alpha.single = 0.5
    config.evaluate.count = 3
    config.evaluate.epochs = 100
    config.evaluate.check_every = 50
    config.evaluate.batch = 100
