"""Ten-class subsets of ImageNet at 128x128.

"imagenette" is fast.ai's data set as TFDS distributes it (about 950 training images per class).
"imagenette_imagenet", "imagewoof", "imagemeow" and "imagesquawk" are cut from ImageNet-1k (TFDS
`imagenet2012`, about 1 300 training images per class, 50 validation images per class as the test
set) by WordNet id, in the order in which the distillation literature numbers the classes. So
"imagenette" and "imagenette_imagenet" have the same classes, but not the same images.
"""

from __future__ import annotations

from csdm_jax.data.tfds_source import IMAGENET_MEAN, IMAGENET_STD, TfdsSpec

RESOLUTION = 128

_WORDNET_IDS = {
    "imagenette_imagenet": "n01440764 n02102040 n02979186 n03000684 n03028079 "
    "n03394916 n03417042 n03425413 n03445777 n03888257",
    "imagewoof": "n02096294 n02093754 n02111889 n02088364 n02086240 "
    "n02089973 n02087394 n02115641 n02099601 n02105641",
    "imagemeow": "n02123045 n02123159 n02123394 n02123597 n02124075 "
    "n02129165 n02129604 n02128925 n02128757 n02127052",
    "imagesquawk": "n01806143 n02007558 n01818515 n02051845 n02056570 "
    "n01614925 n01843383 n01518878 n01860187 n01819313",
}


def _spec(name: str, builder: str, classes: tuple[str, ...] | None) -> TfdsSpec:
    # imagenet2012's "test" split is unlabelled: both data sets are tested on "validation".
    return TfdsSpec(name, builder, IMAGENET_MEAN, IMAGENET_STD, "validation", RESOLUTION, classes)


SPECS = (
    _spec("imagenette", "imagenette/160px-v2", None),
    *(_spec(name, "imagenet2012", tuple(ids.split())) for name, ids in _WORDNET_IDS.items()),
)
