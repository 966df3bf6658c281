import itertools

import numpy as np
import pytest

from csdm_jax.reporting import palette

VISION = {
    "normal": np.eye(3),
    # Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                     [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                   [0.004733, 0.691367, 0.303900]],
}  # fmt: skip
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1.0, 1.089])


def linear(colour):
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(light):
    ratio = XYZ @ np.clip(light, 0, 1) / WHITE
    x, y, z = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("grey", [palette.GREY, palette.GREY_ON_DARK])
@pytest.mark.parametrize("vision", VISION)
def test_any_two_colours_differ_for_every_eye(vision, grey):
    colours = [*palette.SERIES[:-1], grey]
    seen = [lab(np.array(VISION[vision]) @ linear(colour)) for colour in colours]
    apart = min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))
    assert apart > 15


def test_a_method_has_its_style_by_its_name_alone():
    names = ("csdm", "csdm_single", "dm", "mmd", "ncfm", "random")
    known = [palette.of_method(name) for name in names]
    assert len({style.colour for style in known}) == len({style.marker for style in known}) == 6
    own = palette.of_method("my_method")
    assert own == palette.of_method("my_method") and own.colour in palette.SERIES
    assert own == palette.Style(palette.GREEN, "<", "-.", "..")  # the same in every process
    for name in map(str, range(50)):
        other = palette.of_method(name)
        assert all((other.marker, other.dash) != (one.marker, one.dash) for one in known)
