"""Your own images: a folder, zip or npz, every image of it, with the counts that it has.

Command: `python -m csdm_jax.main --config=configs/own_data.py:size=32,holdout=0.2 --data_dir=PATH`
CPU preset: `--config=configs/own_data.py:size=32,holdout=0.2,ipc=2,cpu`

What is read and how: docs/own-data.md.
"""

from csdm_jax.experiment import config as configuration
from csdm_jax.experiment import presets

CPU = {
    "network.width": 32,
    "extractors.count": 2,
    "extractors.epochs": 15,
    "extractors.batch": 64,
    "extractors.learning_rate": 0.05,
    "distill.steps": 200,
    "distill.batch": 32,
}


def get_config(argument: str = ""):
    """Options: `source` folder or npz, `size` of images (0: as they are), `holdout`, `ipc`, `cpu`.

    `holdout` is the share of images that become the test set of data without one; `cpu` a preset
    that two cores finish.
    """
    options = configuration.parse_argument(
        argument, source="folder", size=0, holdout=0.0, ipc=10, cpu=False
    )
    config = configuration.default_config()
    config.name = f"own_data-ipc{options['ipc']}"
    config.baselines = ("random",)  # what a number is to be compared with
    config.data.name = options["source"]
    config.data.image_size = options["size"]
    config.data.holdout = options["holdout"]
    config.network.depth = 3 if options["size"] < 64 else 4 if options["size"] < 128 else 5
    config.distill.ipc = options["ipc"]
    config.distill.reuse_images = True  # the rarest class may have fewer than a start needs
    if options["ipc"] == 1:
        config.alpha.head = config.alpha.tail = config.alpha.single = 0.11  # the paper's, balanced
    config.update_from_flattened_dict(presets.QUIET)
    if options["cpu"]:
        presets.shrink(config, CPU)
    return config
