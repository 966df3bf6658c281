"""The order of classes, how two lists of class names go together, and names for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from absl import logging

from csdm_jax.runtime.text import printable

WORDNET = {
    "imagenette_imagenet": {
        "n01440764": "tench",
        "n02102040": "English springer",
        "n02979186": "cassette player",
        "n03000684": "chain saw",
        "n03028079": "church",
        "n03394916": "French horn",
        "n03417042": "garbage truck",
        "n03425413": "gas pump",
        "n03445777": "golf ball",
        "n03888257": "parachute",
    },
    "imagewoof": {
        "n02096294": "Australian terrier",
        "n02093754": "Border terrier",
        "n02111889": "Samoyed",
        "n02088364": "beagle",
        "n02086240": "Shih-Tzu",
        "n02089973": "English foxhound",
        "n02087394": "Rhodesian ridgeback",
        "n02115641": "dingo",
        "n02099601": "golden retriever",
        "n02105641": "Old English sheepdog",
    },
    "imagemeow": {
        "n02123045": "tabby",
        "n02123159": "tiger cat",
        "n02123394": "Persian cat",
        "n02123597": "Siamese cat",
        "n02124075": "Egyptian cat",
        "n02129165": "lion",
        "n02129604": "tiger",
        "n02128925": "jaguar",
        "n02128757": "snow leopard",
        "n02127052": "lynx",
    },
    "imagesquawk": {
        "n01806143": "peacock",
        "n02007558": "flamingo",
        "n01818515": "macaw",
        "n02051845": "pelican",
        "n02056570": "king penguin",
        "n01614925": "bald eagle",
        "n01843383": "toucan",
        "n01518878": "ostrich",
        "n01860187": "black swan",
        "n01819313": "cockatoo",
    },
}
"""The classes of subsets of ImageNet, WordNet id and name, in label order."""
_NAMES = {key: name for classes in WORDNET.values() for key, name in classes.items()}


def spoken(name: str) -> str:
    """A class name for people: of a WordNet id the name, where it is known; else as it is."""
    return _NAMES.get(name, name)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Class names, printable, each once, in label order: numbers as numbers, all else as text."""
    found = sorted({printable(name) for name in names})
    if not all(name.isascii() and name.isdecimal() for name in found):
        return tuple(found)
    ordered = sorted(found, key=lambda name: (int(name), name))
    if ordered != found:
        logging.info("class names are numbers and are sorted as such: %s, ...", ordered[:12])
    return tuple(ordered)


def numbers(count: int) -> tuple[str, ...]:
    """What stands in place of class names that nobody knew."""
    return tuple(str(label) for label in range(count))


def are_shuffled(one: Sequence[str] | None, other: Sequence[str] | None) -> bool:
    """Whether both are the same names, in two orders."""
    return bool(one and other) and one != other and sorted(one or ()) == sorted(other or ())
