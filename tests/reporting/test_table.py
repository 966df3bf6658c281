import io
import json
import os
import shutil
import signal
import time

import numpy as np
import pytest
from PIL import Image

from csdm_jax.experiment.config import OF_THE_RUN
from csdm_jax.reporting import figures, fonts, page, table
from csdm_jax.runtime import interruption
from csdm_jax.sets.distilled import DistilledSet
from csdm_jax.storage import files
from tests.finished import write_run, write_snapshots


@pytest.fixture
def workdir(tmp_path):
    write_run(tmp_path / "runs" / "random-seed0", "random", 0, [40.0, 42.0, 41.0])
    write_run(tmp_path / "runs" / "csdm-seed1", "csdm", 1, [56.0, 58.0, 57.0])
    write_run(tmp_path, "csdm", 0, [50.0, 52.0, 51.0])
    return tmp_path


def test_mean_and_deviation_are_over_networks_and_seeds_together(workdir):
    rows = {row["method"]: row for row in table.gather(table.run_folders(workdir), OF_THE_RUN)}
    values = [50.0, 52.0, 51.0, 56.0, 58.0, 57.0]
    assert rows["csdm"]["last"] == np.mean(values)
    assert rows["csdm"]["last_std"] == round(np.std(values, ddof=1), 2)
    assert rows["csdm"]["best"] == np.mean(values) + 1
    assert rows["csdm"]["seeds"] == [0, 1] and rows["csdm"]["networks"] == 6
    assert rows["csdm"]["groups"] == {"many": 64.0, "medium": 54.0, "few": 44.0}
    assert rows["random"]["last"] == 41.0


def test_the_table_puts_the_last_epoch_first_and_labels_the_best(workdir):
    text = table.table(table.gather(table.run_folders(workdir), OF_THE_RUN))
    assert "tiny, imbalance factor 5, IPC 2 (seeded rule, seed 0, indices 0123456789ab)" in text
    assert "| last epoch | best (optimistic) |" in text
    assert "| csdm | convnet | 2 x 3 | 54.0 ± 3.4 | 55.0 | 64.0 | 54.0 | 44.0 |" in text
    assert text.index("random") < text.index("csdm")


def test_the_report_draws_every_run_and_prints_its_table(workdir, capsys):
    table.write(workdir, table.run_folders(workdir), OF_THE_RUN)
    for folder in table.run_folders(workdir):
        for name in ("images.png", "curves.png"):
            with Image.open(folder / name) as picture:
                assert min(picture.size) > 100 and picture.convert("L").getextrema() != (255, 255)
    assert "54.0 ± 3.4" in capsys.readouterr().out
    assert (workdir / "table.md").read_text() == table.table(
        table.gather(table.run_folders(workdir), OF_THE_RUN)
    )
    assert json.loads((workdir / "table.json").read_text())[0]["method"] == "random"


def test_images_are_drawn_from_the_largest_class_to_the_smallest():
    """Classes of grey 0.2, 0.4 and 0.6, the second the largest and the first the smallest."""
    greys = np.float32([0.2, 0.4, 0.6])
    images = np.ones((3, 8, 8, 1), np.float32) * greys[:, None, None, None]
    names = {"class_names": ["a", "b", "c"], "data": {"counts": [7, 500, 30]}}
    result = DistilledSet(images, np.arange(3), "pixels", 1, 3)
    png = figures.draw_images(result, {"method": "dm", "ipc": 1} | names)
    with Image.open(io.BytesIO(png)) as picture:
        column = np.asarray(picture.convert("L"), float)
    places = [np.nonzero(abs(column - 255 * grey) < 1)[0].mean() for grey in greys]
    assert places[1] < places[2] < places[0]


def test_class_names_in_any_bytes_and_script_are_drawn():
    names = ["caf\udce9", "日本", "שלום", "नमस्ते", "a\nb", "$x_", "x" * 300]
    images = np.full((7, 8, 8, 1), 0.5, np.float32)
    card = {"class_names": names, "data": {"counts": [9] * 7}, "method": "dm", "ipc": 1}
    assert figures.draw_images(DistilledSet(images, np.arange(7), "pixels", 1, 7), card)
    assert figures.shortened("caf\udce9") == r"caf\xe9"


def test_a_class_name_does_not_end_a_cell():
    assert table.markdown(["class"], [["a|b"]])[-1] == r"| a\|b |"


def test_the_factor_in_the_table_is_the_data_s_own(workdir):
    row = table.gather(table.run_folders(workdir), OF_THE_RUN)[0]
    natural = row["data"] | {"seed": None, "rule": "none"}
    assert "tiny, imbalance factor 5, IPC 2 (none rule, indices" in table.setting(
        row | {"data": natural}
    )
    profile = row["data"] | {"own_imbalance_factor": 5.333, "imbalance_factor": 5.0}
    assert "imbalance factor 5.333 (5 asked), IPC" in table.setting(row | {"data": profile})


def test_no_line_crosses_the_images():
    black = DistilledSet(np.zeros((3, 8, 8, 3), np.float32), np.arange(3), "pixels", 1, 3)
    names = {"class_names": ["a", "b", "c"], "data": {"counts": [9, 3, 1]}}
    png = figures.draw_images(black, {"method": "dm", "ipc": 1} | names)
    with Image.open(io.BytesIO(png)) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    rows, columns = np.nonzero((pixels == 0).all(axis=2))
    sheet = pixels[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    colours = {tuple(colour) for colour in sheet.reshape(-1, 3).tolist()}
    assert colours == {(0, 0, 0), (figures.OUTLINE,) * 3, (255, 255, 255)}


@pytest.mark.parametrize("side, scale", [(8, 8), (32, 2), (128, 1)])
def test_images_are_drawn_by_their_own_pixels(side, scale):
    """Noise: a resampled pixel would be another colour, or of another size."""
    images = np.random.default_rng(0).integers(1, 180, (1, side, side, 3)).astype(np.uint8)
    result = DistilledSet(np.float32(images) / 255, np.arange(1), "pixels", 1, 1)
    names = {"class_names": ["a"], "data": {"counts": [9]}}
    png = figures.draw_images(result, {"method": "dm", "ipc": 1} | names)
    with Image.open(io.BytesIO(png)) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    high, wide = scale * side, scale * side
    (corner,) = np.argwhere((pixels == figures.OUTLINE).all(2))[:1]
    drawn = pixels[corner[0] + 1 :, corner[1] + 1 :][:high, :wide]
    np.testing.assert_array_equal(drawn, images[0].repeat(scale, 0).repeat(scale, 1))


def test_the_images_along_the_steps_are_an_animation(tmp_path):
    write_run(tmp_path, "csdm", 0, [50.0])
    table.write(tmp_path, [tmp_path], OF_THE_RUN)
    assert not (tmp_path / "steps.gif").exists()  # of a run older than snapshots
    write_snapshots(tmp_path, (0, 1, 16, 20, 32))
    table.write(tmp_path, [tmp_path], OF_THE_RUN)
    with Image.open(tmp_path / "steps.gif") as picture:
        assert picture.n_frames == 4  # steps 0, 1, 16 and the end, 20
        assert picture.info["loop"] == 0 and picture.info["duration"] > 0


def test_the_title_is_centred():
    result = DistilledSet(np.ones((1, 8, 8, 3), np.float32), np.arange(1), "pixels", 1, 1)
    names = {"class_names": ["a class with a long name"], "data": {"counts": [9]}}
    png = figures.draw_images(result, {"method": "dm", "ipc": 1} | names)
    with Image.open(io.BytesIO(png)) as picture:
        head = np.asarray(picture.convert("L"))[:28]
    columns = np.flatnonzero((head < 128).any(0))
    assert abs((columns[0] + columns[-1]) / 2 - head.shape[1] / 2) < 3


def test_every_character_of_a_picture_has_a_glyph_in_its_fonts(monkeypatch):
    names = ["日本 kanji", "кошка", "שלום", "नमस्ते", "𝔄𝕎", "plain"]
    family = fonts.families(names)
    assert not any(font.startswith("Last Resort") for font in family)  # it draws boxes
    for shown in (fonts.drawable(name, family) for name in names):
        for character in shown:
            assert any(_has_glyph(font, character) for font in family), (shown, character)
    monkeypatch.setattr(fonts, "_others", lambda: iter(()))
    alone = fonts.families(names)
    assert alone == ["DejaVu Sans"]
    assert fonts.drawable("日本 k", alone) == r"\u65e5\u672c k"


def test_a_font_that_has_a_missing_glyph_is_taken():
    script = "\U0001d4d0"  # in STIX, which comes with Matplotlib, and not in the default font
    assert not _has_glyph("DejaVu Sans", script)
    family = fonts.families(["a" + script])
    assert any(_has_glyph(font, script) for font in family)
    assert fonts.drawable("a" + script, family) == "a" + script


def _has_glyph(family, character):
    from matplotlib import font_manager

    path = font_manager.findfont(font_manager.FontProperties(family=[family]))
    return font_manager.get_font(path).get_char_index(ord(character)) != 0


def test_an_interval_stays_within_what_an_accuracy_can_be(tmp_path):
    write_run(tmp_path, "csdm", 0, [99.0, 90.0])
    (row,) = table.gather([tmp_path], OF_THE_RUN)
    assert row["last_interval"] == [37.32, 100.0]  # 94.5 - 12.706 * 4.5
    write_run(tmp_path, "csdm", 0, [1.0, 3.0])
    assert table.gather([tmp_path], OF_THE_RUN)[0]["last_interval"][0] == 0.0


def test_tuning_results_stand_in_a_table_of_their_own(workdir):
    write_run(workdir / "runs" / "dm-seed0", "dm", 0, [70.0, 72.0, 71.0], on="tuning")
    text = table.table(table.gather(table.run_folders(workdir), OF_THE_RUN))
    tuning = text[text.index("on TUNING images, not the test set") :]
    assert "| dm |" in tuning and "| csdm |" not in tuning
    assert text.count("| method |") == 2


def test_runs_with_other_settings_are_not_averaged(workdir):
    write_run(workdir / "runs" / "csdm-seed2", "csdm", 2, [90.0, 90.0, 90.0], steps=40)
    rows = [
        r for r in table.gather(table.run_folders(workdir), OF_THE_RUN) if r["method"] == "csdm"
    ]
    assert [(row["last"], row["networks"]) for row in rows] == [(54.0, 6), (90.0, 3)]


def test_left_over_runs_of_another_experiment_are_not_reported(workdir):
    rows = table.write(workdir, [workdir, workdir / "runs" / "csdm-seed1"], OF_THE_RUN)
    assert [row["method"] for row in rows] == ["csdm"]


def test_many_classes_are_drawn_on_a_picture_that_can_be_written(tmp_path):
    write_run(tmp_path, "csdm", 0, [50.0], names=tuple(map(str, range(700))))
    table.write(tmp_path, [tmp_path], OF_THE_RUN)
    with Image.open(tmp_path / "images.png") as picture:
        assert 5000 < picture.size[1] < 2**14  # 100 of the classes


def test_a_narrowed_width_stands_in_the_heading(workdir):
    (row, *_) = table.gather(table.run_folders(workdir), OF_THE_RUN)
    assert "width" not in table.setting(row)
    card = files.read_sealed_json(workdir / "card.json")
    card["config"]["network"] = {"width": 32}
    files.write_sealed_json(workdir / "card.json", card)
    text = table.table(table.gather(table.run_folders(workdir), OF_THE_RUN))
    assert "tiny, imbalance factor 5, IPC 2, networks of width 32 (published: 128) (" in text
    assert text.count("| method |") == 2  # the baseline and the other seed have the published one


@pytest.mark.parametrize("module, drawing", [(figures, "draw_curves"), (page, "render")])
def test_a_signal_while_figures_are_drawn_stops_and_the_next_call_draws_all(
    workdir, tmp_path_factory, monkeypatch, module, drawing
):
    whole = tmp_path_factory.mktemp("whole") / "run"
    shutil.copytree(workdir, whole)
    table.write(whole, table.run_folders(whole), OF_THE_RUN)
    draw = getattr(module, drawing)

    def interrupted(*arguments, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        while not interruption.requested():
            time.sleep(0.01)
        return draw(*arguments, **options)

    with (
        interruption.handled(),
        monkeypatch.context() as patch,
        pytest.raises(interruption.Interrupted, match="stopped by a signal"),
    ):
        patch.setattr(module, drawing, interrupted)
        table.write(workdir, table.run_folders(workdir), OF_THE_RUN)
    assert not (workdir / page.FILE).exists()
    table.write(workdir, table.run_folders(workdir), OF_THE_RUN)
    for path in whole.rglob("*"):
        if path.is_file():
            assert (workdir / path.relative_to(whole)).read_bytes() == path.read_bytes(), path


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="run the stage 'distill' first"):
        table.write(tmp_path, [tmp_path], OF_THE_RUN)
    with pytest.raises(FileNotFoundError, match="run the stage 'distill' first"):
        table.run_folders(tmp_path)
