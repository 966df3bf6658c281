"""Your own images: a folder, zip or npz, every image of it, with the counts that it has.

Command: `python -m csdm_jax.main --config=configs/own_data.py:size=32,holdout=0.2 --data_dir=PATH`
CPU preset: `--config=configs/own_data.py:size=32,holdout=0.2,ipc=2,cpu`

What is read and how: docs/own-data.md.
"""

from csdm_jax.experiment import config as configuration


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
    config.data.name = options["source"]
    config.data.image_size = options["size"]
    config.data.holdout = options["holdout"]
    config.network.depth = 3 if options["size"] < 64 else 4 if options["size"] < 128 else 5
    config.distill.ipc = options["ipc"]
    config.distill.reuse_images = True  # the rarest class may have fewer than a start needs
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
    config.extractors.batch = 64
    config.extractors.learning_rate = 0.05
    config.extractors.cutmix = 0.0
    config.distill.steps = 200
    config.distill.log_every = 10
    config.distill.checkpoint_every = 50
    config.distill.batch = 32
    config.distill.learning_rate = 3e-3
    config.sdd.num_frequencies = 512
    config.evaluate.count = 2
    config.evaluate.epochs = 60
    config.evaluate.check_every = 20
