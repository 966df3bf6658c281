import collections
import json
import re

import numpy as np
import pytest

from csdm_jax import page as page_command
from csdm_jax.experiment import config as configuration
from csdm_jax.experiment import stages
from csdm_jax.experiment.config import OF_THE_RUN
from csdm_jax.reporting import compared, page, table
from csdm_jax.sets import distilled
from csdm_jax.sets.distilled import DistilledSet
from csdm_jax.storage import files
from tests.finished import write_run, write_snapshots, write_spectrum
from tests.reporting import browser

NAMES = ("<script>alert(1)</script>", 'two $ of $x & "y"', "кошка 猫" + " and more" * 9)
CHROMIUM = browser.find()
FRAMES = 3  # steps 0 and 10, and the end


def real_images():
    generator = np.random.default_rng(0)
    return {c: generator.integers(0, 256, (5, 8, 8, 3), np.uint8) for c in range(3)}


def write_page(workdir, names=NAMES):
    """A run, a baseline and their page. Returns its path."""
    baseline = workdir / "runs" / "random-seed0"
    write_run(baseline, "random", 0, [40.0, 42.0], names=names)
    write_run(workdir, "csdm", 0, [50.0, 52.0], names=names)
    write_spectrum(workdir)
    write_snapshots(workdir, (0, 10))
    section = compared.section(compared.compared(workdir, ["random", "csdm"]))
    table.write(workdir, [baseline, workdir], OF_THE_RUN, real_images(), section)
    return workdir / page.FILE


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_page(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def tab():
    if CHROMIUM is None:
        pytest.skip(f"no browser among {', '.join(browser.NAMES)}: install Chromium")
    with browser.opened(CHROMIUM) as tab:
        yield tab


def headings(text):
    return re.findall("<h2>(.*?)</h2>", text)


def test_the_page_has_every_section_and_says_first_what_came_out(path):
    text = path.read_text()
    assert headings(text) == [
        "Results",
        "Comparison of methods",
        "Images",
        "Distillation",
        "Characteristic functions",
        "Time and memory",
        "Set-up",
    ]
    start = text[text.index("<body>") : text.index("<h2>")]
    assert "6 images stand for the 65 training images of tiny" in start
    assert "reach 51.0 ± 1.4 % on the test set, 10.0 points above real images" in start
    assert "41.0 %" in start  # the few-shot class: 10 points below the mean
    assert "2.5 GB" in text and "7.5 s" in text and "jax 1.2.3" in text


def test_a_figure_has_room_for_some_methods_the_best_and_random():
    few = {name: {} for name in ("csdm", "dm", "random")}
    assert page._drawn(few) == (few, "")
    many = {name: {} for name in ("csdm", *map(str, range(9)), "random")}
    drawn, said = page._drawn(many)
    assert list(drawn) == ["csdm", *map(str, range(6)), "random"] and " Of 11 methods 8 " in said


def test_the_page_asks_for_nothing_outside_itself(path):
    text = path.read_text()
    addresses = re.findall(r'(?:src|href)="([^"]*)"', text) + re.findall(r"url\(([^)]*)\)", text)
    assert len(addresses) > 20
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert "<script" not in text and "@import" not in text


def test_class_names_are_text_and_not_markup(path):
    text = path.read_text()
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 3
    assert "two $ of $x &amp; &#34;y&#34;" in text and "кошка 猫" in text


def test_a_class_without_test_images_is_shown_as_such(tmp_path):
    write_run(tmp_path, "csdm", 0, [50.0, 52.0])
    card = files.read_sealed_json(tmp_path / "card.json")
    for one in card["accuracies"]["convnet"]:
        one["by_class"][1] = None
    files.write_sealed_json(tmp_path / "card.json", card)
    table.write(tmp_path, [tmp_path], OF_THE_RUN, real_images())
    text = (tmp_path / page.FILE).read_text()
    words = re.sub('src="data:[^"]*"', "", text).lower()  # an image may spell anything
    assert words.count("no test image") == 1 and "nan" not in words


def test_ids_on_the_page_are_unique(path):
    counted = collections.Counter(re.findall(r'\bid="([^"]*)"', path.read_text()))
    assert max(counted.values()) == 1 and len(counted) > 100


def test_the_same_run_gives_the_same_page(path, tmp_path):
    assert write_page(tmp_path).read_text() == path.read_text()


def test_an_imported_set_has_a_page_of_what_is_known(tmp_path):
    images = np.full((4, 8, 8, 1), 0.5, np.float32)
    labels = np.array([0, 0, 1, 1], np.int32)
    card = {"imported_from": "ncfm", "class_names": ["a", "b"], "ipc": 2}
    distilled.save(tmp_path / "set", DistilledSet(images, labels, "pixels", 1, 2), card)
    page_command.main([str(tmp_path / "set"), str(tmp_path / "out.html")])
    text = (tmp_path / "out.html").read_text()
    assert headings(text) == ["Images", "Set-up"]
    assert "4 images of 2 classes" in text and "ncfm (imported)" in text
    assert text.count("<img") == 4


def test_a_folder_without_a_set_has_no_page(tmp_path):
    with pytest.raises(SystemExit, match="error: no distilled set"):
        page_command.main([str(tmp_path), str(tmp_path / "out.html")])
    with pytest.raises(SystemExit, match="usage"):
        page_command.main([str(tmp_path)])


def test_of_many_classes_some_are_shown_from_head_to_tail(tmp_path):
    text = write_page(tmp_path, names=tuple(f"class {c}" for c in range(300))).read_text()
    shown = re.findall(r'<span class="name">class (\d+)', text)
    assert len(shown) == 20 and shown[0] == "0" and shown[-1] == "299"
    assert shown == sorted(shown, key=int) and "20 of\n300 classes are shown" in text
    assert len(text) < 1_500_000


def test_a_run_of_real_images_alone_has_no_characteristic_functions(tmp_path):
    config = configuration.default_config()
    config.method, config.data.rule = "random", "seeded"
    config.data.imbalance_factor, config.distill.ipc = 10.0, 1
    stages.run(config, tmp_path, stage="distill")
    stages.run(config, tmp_path, stage="report")
    assert not (tmp_path / "spectrum.json").exists()
    assert headings((tmp_path / page.FILE).read_text()) == ["Images", "Time and memory", "Set-up"]


def test_damaged_timings_leave_their_section_out(tmp_path):
    write_run(tmp_path, "csdm", 0, [50.0])
    (tmp_path / "timings.json").write_text("{")
    text = page.render([page.read(tmp_path)])
    assert "Time and memory" not in headings(text) and "Distillation" in headings(text)


def test_a_set_below_random_is_said_to_be_below(tmp_path):
    write_run(tmp_path / "runs" / "random-seed0", "random", 0, [60.0, 62.0])
    write_run(tmp_path, "csdm", 0, [50.0, 52.0])
    table.write(tmp_path, table.run_folders(tmp_path), OF_THE_RUN)
    assert "10.0 points below real images" in (tmp_path / page.FILE).read_text()


CONTRAST = """(() => {
  const light = c => { const [r, g, b] = c.match(/[0-9.]+/g).map(Number).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = light(getComputedStyle(document.body).backgroundColor);
  const ratio = c => { const l = light(c);
    return (Math.max(l, ground) + 0.05) / (Math.min(l, ground) + 0.05); };
  const colours = [...document.querySelectorAll('p, td, th, figcaption, summary')]
    .map(e => getComputedStyle(e).color)
    .concat([...document.querySelectorAll('figure svg text')].map(e => getComputedStyle(e).fill));
  return Math.min(...colours.map(ratio));
})()"""
PICTURES = "[...document.images].filter(i => i.complete && i.naturalWidth > 0).length"
DRAWINGS = """[...document.querySelectorAll('figure svg')].map(e => e.getBoundingClientRect())
  .map(r => [r.left, r.right, r.height])"""
TEXTS = """[...document.querySelectorAll('figure svg')].flatMap(svg => {
  const box = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text')].map(t => t.getBoundingClientRect())
    .map(r => Math.max(box.left - r.left, r.right - box.right, box.top - r.top)); })"""
BOX = "document.querySelector('.scroll')"
GROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 375])
def test_a_browser_shows_it_whole(tab, path, width, scheme):
    tab.show(path, width=width, scheme=scheme)
    assert tab.problems == []
    assert tab.value("document.images.length") == tab.value(PICTURES) == 3 * (2 + 5) + FRAMES * 6
    assert tab.value("document.documentElement.scrollWidth") <= width
    drawings = tab.value(DRAWINGS)
    assert len(drawings) == 12
    assert all(left >= 0 and right <= width and high > 100 for left, right, high in drawings)
    assert max(tab.value(TEXTS)) < 12  # pixels by which a label leaves its drawing
    assert tab.value(CONTRAST) > 4.5
    dark = sum(map(int, re.findall(r"\d+", tab.value(GROUND)))) < 3 * 60
    assert dark == (scheme == "dark")


def test_wide_tables_scroll_in_their_box(tab, path):
    tab.show(path, width=375)
    scrolled = tab.value("(e => { e.scrollLeft = 50; return e.scrollLeft })(" + BOX + ")")
    assert scrolled == 50
    assert tab.value("document.documentElement.scrollWidth") == 375


def test_the_browser_s_checks_notice_what_is_wrong(tab, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<body style='width:900px'><img src='data:image/png;base64,AAAA'>"
        "<script>console.error('x'); fetch('http://127.0.0.1:9/')</script>"
    )
    tab.show(bad, width=375)
    found, tab.problems[:] = list(tab.problems), []
    assert any("'x'" in one for one in found) and any("127.0.0.1" in one for one in found)
    assert tab.value(PICTURES) == 0
    assert tab.value("document.documentElement.scrollWidth") > 375


SHOWN_FRAME = """[...document.querySelectorAll('.frame')]
  .filter(e => getComputedStyle(e).display != 'none').map(e => e.className)"""
SIZES = """[...document.querySelectorAll('.strip img')].filter(i => i.offsetParent).map(i =>
  [i.getBoundingClientRect().width / i.naturalWidth, getComputedStyle(i).imageRendering])"""
OVERFLOW = """[...document.querySelectorAll('.numbers div')]
  .map(e => e.scrollWidth - e.clientWidth)"""


@pytest.mark.parametrize("width", [1280, 375])
def test_images_have_their_own_pixels_and_tiles_their_text(tab, path, width):
    tab.show(path, width=width)
    assert {tuple(one) for one in tab.value(SIZES)} == {(8, "pixelated")}
    assert max(tab.value(OVERFLOW)) == 0


def test_a_step_is_chosen_with_keys_and_shown_alone(tab, path):
    tab.show(path, width=375)
    assert tab.value(SHOWN_FRAME) == [f"frame frame-{FRAMES}"]
    tab.value(f"document.getElementById('step-{FRAMES}').focus()")
    for kind in ("keyDown", "keyUp"):
        tab.call("Input.dispatchKeyEvent", type=kind, key="ArrowLeft", windowsVirtualKeyCode=37)
    assert tab.value(SHOWN_FRAME) == [f"frame frame-{FRAMES - 1}"]
    labels = "[...document.querySelectorAll('.steps label')].map(e => e.textContent)"
    assert tab.value(labels) == ["step 0", "10", "20"]


def test_a_run_without_snapshots_has_no_steps_to_choose(tmp_path):
    write_run(tmp_path, "csdm", 0, [50.0, 52.0])
    assert "Over the steps" not in page.render([page.read(tmp_path)])


def test_wordnet_ids_are_shown_by_name(tmp_path):
    text = write_page(tmp_path, names=("n01440764", "n00000000", "c")).read_text()
    body = text[: text.index("Card of the distilled set")]
    assert "tench" in body and "n01440764" not in body and "n00000000" in body


@pytest.mark.parametrize(
    "on, data, said",
    [
        ("test", {}, "on the test set of 33 images,"),
        ("test", {"holdout": 0.2}, "on the test set, 33 images held out of the data,"),
        ("tuning", {}, "on 33 held-out training images,"),
    ],
)
def test_the_page_says_how_many_images_were_tested_on(tmp_path, on, data, said):
    for folder, method in ((tmp_path / "runs" / "random-seed0", "random"), (tmp_path, "csdm")):
        write_run(folder, method, 0, [50.0, 52.0], on=on)
        card = files.read_sealed_json(folder / "card.json")
        card["data"] |= data
        files.write_sealed_json(folder / "card.json", card | {"test_images": 33})
    table.write(tmp_path, table.run_folders(tmp_path), OF_THE_RUN)
    assert said in (tmp_path / page.FILE).read_text()


def test_the_card_on_the_page_is_json(path):
    text = path.read_text()
    (shown,) = re.findall("<pre>(.*?)</pre>", text, re.S)
    for mark, character in (("&#34;", '"'), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        shown = shown.replace(mark, character)
    card = files.read_sealed_json(path.parent / "card.json")
    expected = {n: v for n, v in card.items() if n not in ("accuracies", "config", "versions")}
    assert json.loads(shown) == expected
