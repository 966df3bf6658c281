"""What DeepCore publishes for its coresets on CIFAR-10: the network that chooses, and the test.

Read from the defaults of its public code. Three things are not as there, whatever a method's own
deviations are: the learning rate falls by a staircase near its cosine; the momentum is not
Nesterov's; and coresets are tested by the networks of the configuration, as papers on distillation
do, not by ResNet-18 alone.
"""

from __future__ import annotations

from types import MappingProxyType

_STAIRCASE = (0.5, 0.75, 0.9), 0.25


def _training(section: str, epochs: int) -> dict[str, object]:
    """How DeepCore trains a network, as fields of a section."""
    fields = {
        "epochs": epochs,
        "batch": 256,
        "optimiser": "sgd",
        "learning_rate": 0.1,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "decay_at": _STAIRCASE[0],
        "decay": _STAIRCASE[1],
        "augmentation": "crop_flip",
        "augmentation_mode": "all",
        "cutmix": 0.0,
    }
    return {f"{section}.{name}": value for name, value in fields.items()}


TESTED = MappingProxyType(
    {"network.width": 128, "distill.parameterisation": "pixels"} | _training("evaluate", 200)
)
"""Without a network that chooses."""
DEEPCORE = MappingProxyType(
    dict(TESTED)
    | {"network.name": "resnet18", "extractors.count": 1, "extractors.logit_adjustment": 0.0}
    | _training("extractors", 40)
)
