"""scikit-learn's 8x8 digits, long-tailed: the embedded default, a minute on two cores.

Command: `python -m csdm_jax.main --config=configs/digits_lt.py`
Result (results/digits_lt; 2 distillation seeds x 3 networks; two CPU cores): Random
76.3 ± 5.9, CSDM 83.8 ± 1.9, DM 85.8 ± 1.9.
"""

from csdm_jax.experiment import config as configuration


def get_config(argument: str = ""):
    """Options: `imb` imbalance factor, `ipc` images per class; `cpu` changes nothing here."""
    options = configuration.parse_argument(argument, imb=10.0, ipc=2, cpu=False)
    config = configuration.default_config()
    config.name = f"digits_lt-imb{options['imb']:g}-ipc{options['ipc']}"
    config.baselines = ("random", "dm")
    config.data.name = "digits"
    config.data.imbalance_factor = options["imb"]
    config.data.rule = "seeded"
    config.network.width = 32

    config.extractors.count = 3
    config.extractors.epochs = 60
    config.extractors.batch = 32
    config.extractors.optimiser = "adamw"
    config.extractors.learning_rate = 3e-3
    config.extractors.augmentation = "crop_scale_rotate"
    config.extractors.cutmix = 0.0

    config.distill.ipc = options["ipc"]
    config.distill.parameterisation = "pixels"
    config.distill.seeds = (0, 1)
    config.distill.steps = 300
    config.distill.log_every = 50
    config.distill.checkpoint_every = 100
    config.distill.batch = 64
    config.distill.learning_rate = 0.01
    config.distill.augmentation = "crop_scale_rotate"
    config.sdd.num_frequencies = 512

    config.evaluate.count = 3
    config.evaluate.epochs = 300
    config.evaluate.check_every = 50
    config.evaluate.batch = 20
    config.evaluate.augmentation = "crop_scale_rotate"
    return config
