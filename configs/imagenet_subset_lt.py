"""Long-tailed ImageNet subsets at 128 x 128: ImageNette, ImageWoof, ImageMeow, ImageSquawk.

Command: `python -m csdm_jax.main --config=configs/imagenet_subset_lt.py:subset=imagewoof,ipc=10`
CPU preset: `--config=configs/imagenet_subset_lt.py:subset=imagenette,imb=10,ipc=1,cpu`

`imagenette` is fast.ai's data set, about 950 images a class; the other subsets (and
`imagenette_imagenet`) are whole classes of ImageNet-1k, about 1300 images each.

Not measured yet.
"""

from csdm_jax.experiment import config as configuration


def get_config(argument: str = ""):
    """Options: `subset`, `imb` imbalance factor, `ipc` images per class, `cpu` preset."""
    options = configuration.parse_argument(
        argument, subset="imagenette", imb=10.0, ipc=10, cpu=False
    )
    config = configuration.default_config()
    config.name = f"{options['subset']}_lt-imb{options['imb']:g}-ipc{options['ipc']}"
    config.data.name = options["subset"]
    config.data.imbalance_factor = options["imb"]
    config.data.rule = "seeded"  # the classes differ in size; LTDD's rule is one for equal ones
    config.network.depth = 5
    config.extractors.epochs = 80
    config.distill.ipc = options["ipc"]
    config.distill.forward_batch = 512  # 4 GB of activations; the whole batch would want 30
    if options["ipc"] == 1:
        config.alpha.head = config.alpha.tail = config.alpha.single = 0.11  # the paper's, balanced
    if options["cpu"]:
        config.name += "-cpu"
        _shrink(config)
    return config


def _shrink(config):
    """The method at a size that two cores finish: narrower, fewer, shorter."""
    config.network.width = 16
    config.extractors.count = 1
    config.extractors.epochs = 8
    config.extractors.batch = 64
    config.extractors.learning_rate = 0.02
    config.extractors.cutmix = 0.0
    config.distill.steps = 60
    config.distill.log_every = 5
    config.distill.checkpoint_every = 10
    config.distill.batch = 16
    config.distill.learning_rate = 5e-3
    config.sdd.num_frequencies = 512
    config.evaluate.count = 2
    config.evaluate.epochs = 60
    config.evaluate.check_every = 20
    config.evaluate.batch = 40
