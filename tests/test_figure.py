"""`launch/figure.py`: the figure of the README from a finished run."""

import io
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from csdm_jax.reporting import palette
from csdm_jax.storage import files
from tests.finished import write_run

ROOT = Path(__file__).parent.parent
FIGURE = runpy.run_path(str(ROOT / "launch" / "figure.py"))


def colours(picture):
    pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    return {"#{:02x}{:02x}{:02x}".format(*one) for one in np.unique(pixels, axis=0)}


def test_a_row_a_method_in_its_colour_the_worst_first(tmp_path):
    write_run(tmp_path, "csdm", 0, [50.0, 52.0])
    write_run(tmp_path / "runs" / "dm-seed0", "dm", 0, [60.0, 62.0])
    write_run(tmp_path / "runs" / "dm-seed1", "dm", 1, [64.0, 66.0])
    rows, card = FIGURE["read"](tmp_path)
    assert [row.method for row in rows] == ["csdm", "dm"] and card["method"] == "dm"
    assert rows[1].accuracies["all classes"] == [60.0, 62.0, 64.0, 66.0]
    assert rows[1].accuracies["rarest third"] == [50.0, 52.0, 54.0, 56.0]
    with Image.open(io.BytesIO(FIGURE["draw"](rows, card))) as picture:
        assert picture.size[0] == 1400
        assert {palette.VERMILLION, palette.BLUE} <= colours(picture)


def test_a_run_without_an_evaluation_is_refused(tmp_path):
    write_run(tmp_path, "csdm", 0, [50.0])
    card = files.read_sealed_json(tmp_path / "card.json")
    del card["accuracies"]
    files.write_sealed_json(tmp_path / "card.json", card)
    with pytest.raises(SystemExit, match="run the stage 'evaluate' first"):
        FIGURE["main"]([str(tmp_path), str(tmp_path / "out.png")])


def test_the_committed_figure_is_small_and_of_that_width():
    path = ROOT / "docs" / "images" / "digits.png"
    with Image.open(path) as picture:
        assert picture.size[0] == 1400
    assert path.stat().st_size < 200_000
