"""Ten-class subsets of ImageNet at 128x128.

"imagenette" is fast.ai's data set as TFDS distributes it (about 950 training images per class).
"imagenette_imagenet", "imagewoof", "imagemeow" and "imagesquawk" are cut from ImageNet-1k (TFDS
`imagenet2012`, about 1 300 training images per class, 50 validation images per class as the test
set) by WordNet id, in the order in which the distillation literature numbers the classes. So
"imagenette" and "imagenette_imagenet" have the same classes, but not the same images.
"""

from __future__ import annotations

from csdm_jax.data.class_names import WORDNET
from csdm_jax.data.tfds_source import IMAGENET_MEAN, IMAGENET_STD, TfdsSpec

RESOLUTION = 128


def _spec(name: str, builder: str, classes: tuple[str, ...] | None) -> TfdsSpec:
    # imagenet2012's "test" split is unlabelled: both data sets are tested on "validation".
    return TfdsSpec(name, builder, IMAGENET_MEAN, IMAGENET_STD, "validation", RESOLUTION, classes)


SPECS = (
    _spec("imagenette", "imagenette/160px-v2", None),
    *(_spec(name, "imagenet2012", tuple(classes)) for name, classes in WORDNET.items()),
)
