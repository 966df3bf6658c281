"""Long-tailed ImageNet subsets at 128 x 128: ImageNette, ImageWoof, ImageMeow, ImageSquawk.

Command: `python -m csdm_jax.main --config=configs/imagenet_subset_lt.py:subset=imagewoof,ipc=10`
CPU preset: `--config=configs/imagenet_subset_lt.py:subset=imagenette,imb=10,ipc=1,cpu`

`imagenette` is fast.ai's data set, about 950 images a class; the other subsets (and
`imagenette_imagenet`) are whole classes of ImageNet-1k, about 1300 images each.

Not measured yet.
"""

from csdm_jax.experiment import config as configuration
from csdm_jax.experiment import presets

CPU = {
    "network.width": 16,
    "extractors.count": 1,
    "extractors.epochs": 8,
    "extractors.batch": 64,
    "extractors.learning_rate": 0.02,
    "distill.steps": 60,
    "distill.log_every": 5,
    "distill.checkpoint_every": 10,
    "distill.batch": 16,
    "distill.learning_rate": 5e-3,
    "evaluate.batch": 40,
}


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
    config.update_from_flattened_dict(presets.QUIET)
    if options["cpu"]:
        presets.shrink(config, CPU)
    return config
