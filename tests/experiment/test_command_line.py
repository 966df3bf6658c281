"""The command line's answers: to mistakes, to --help, on poor screens; and its directories."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from csdm_jax import data, export, import_set, page, report, reproduce
from csdm_jax.experiment import command_line, saved
from csdm_jax.experiment import config as configuration
from csdm_jax.experiment.config import OF_THE_RUN
from csdm_jax.reporting import table
from csdm_jax.storage import files
from tests import commands
from tests.finished import write_run

ROOT = Path(__file__).parent.parent.parent
DIGITS = "--config=configs/digits_lt.py"


def run(*flags, program=("-m", "csdm_jax.main"), cwd=ROOT, **environment):
    return subprocess.run(
        [sys.executable, *program, *map(str, flags)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def one_line(result):
    """The error: one line at the end, no traceback."""
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    (line,) = (one for one in result.stderr.splitlines() if one.startswith("error: "))
    assert result.stderr.strip().endswith(line)
    return line


@pytest.mark.parametrize("flag", ["--help", "-h", "--helpfull"])
def test_help_ends_well_and_lists_every_field_by_section_with_default_and_rule(flag):
    result = run(flag)
    assert result.returncode == 0, result.stderr
    for name in ("--config", "--workdir", "--stage", "--data_dir"):
        assert name in result.stdout
    section, found = "", set()
    for line in result.stdout[result.stdout.index("fields, set by") :].splitlines()[1:]:
        if title := re.fullmatch(r"  (\S.*):", line):
            section = title[1]
        elif line:
            name, default, words = re.fullmatch(r"    (\S+) = (.*?): (.*)", line).groups()
            assert name.rpartition(".")[0] == ("" if section == "the experiment" else section)
            expected, rule = configuration.schema()[name]
            assert (default, words) == (repr(expected), rule.words)
            found.add(name)
    assert found == set(configuration.schema())


@pytest.mark.parametrize("command", [page, report])
def test_help_of_the_commands_without_flags_ends_well(command, capsys):
    command.main(["--help"])
    assert capsys.readouterr().out.startswith(command.USAGE)


def test_a_wrong_argument_of_a_config_is_one_line(tmp_path):
    line = one_line(run(f"{DIGITS}:imb=ten", f"--workdir={tmp_path / 'w'}"))
    assert line == "error: config argument imb='ten': it must be of type float (see --help)"


def test_a_word_without_a_flag_and_a_missing_config_are_one_line(tmp_path):
    main = "csdm_jax.main"
    lines = [(main, DIGITS, "steps=3"), (main,), ("csdm_jax.score", DIGITS)]
    word, missing, none = commands.run_all(tmp_path, lines)
    assert one_line(word).endswith("without a flag: steps=3 (see --help)")
    assert "give one of cifar100_lt, cifar10_lt, digits_lt" in one_line(missing)
    assert "give one file or folder of a set, got []" in one_line(none)


def test_a_config_that_is_wrong_python_is_one_line(tmp_path):
    (tmp_path / "mine.py").write_text("def get_config():\n    return nothing\n")
    assert "name 'nothing' is not defined" in one_line(run(f"--config={tmp_path / 'mine.py'}"))


@pytest.mark.parametrize("platform", ["cuda", "no_such_platform"])
def test_a_platform_without_a_device_is_one_line(tmp_path, platform):
    result = run(DIGITS, f"--workdir={tmp_path / 'w'}", JAX_PLATFORMS=platform)
    line = one_line(result)
    assert f"JAX_PLATFORMS='{platform}' names no device" in line and "unset it" in line
    assert not (tmp_path / "w").exists()


def test_advice_on_another_field_is_not_followed_by_that_field_s_rule(tmp_path):
    result = run(DIGITS, "--config.distill.ipc=50", f"--workdir={tmp_path / 'w'}")
    line = one_line(result)
    assert line.endswith("--config.distill.reuse_images=True to use real images more than once")
    assert "Unable to initialize backend" not in result.stderr  # no notice of a missing TPU
    assert "devices: " in result.stderr  # other lines of the log are there


HOMELESS = """
import pwd, runpy
def missing(uid):
    raise KeyError("uid not found")
pwd.getpwuid = missing
runpy.run_module("csdm_jax.main", run_name="__main__", alter_sys=True)
"""


def test_without_a_home_or_a_known_user_a_path_with_a_tilde_is_one_line():
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    result = subprocess.run(
        [sys.executable, "-c", HOMELESS, DIGITS, "--workdir=~/w"],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "path '~/w': the home directory is not known: set HOME" in one_line(result)
    assert not (ROOT / "~").exists()


def test_a_data_directory_that_would_be_ignored_is_refused():
    with pytest.raises(ValueError, match=r"'digits' comes with scikit-learn .* leave it out"):
        data.load("digits", data_dir="somewhere")
    assert data.load("digits", data_dir="").name == "digits"


def test_another_error_of_the_program_keeps_its_traceback():
    with pytest.raises(RuntimeError, match="a bug"), command_line.reported():
        raise RuntimeError("a bug")


@pytest.mark.parametrize(
    ("main", "arguments", "message"),
    [
        (export.main, ["~/none", "--format=npz", "--out=$OUT"], "no distilled set in {home}/none"),
        (page.main, ["~/none/", "out.html"], "no distilled set in {home}/none:"),
        (report.main, ["~/none"], "nothing distilled in {home}/none:"),
        (
            import_set.main,
            ["~/none.pt", "--format=npz", "--out=o"],
            "{home}/none.pt does",
        ),
        (reproduce.main, ["x", "--manifest=~/none"], "{home}/none"),
    ],
)
def test_every_command_s_paths_mean_what_a_shell_makes_of_them(
    main, arguments, message, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path / "my home"))
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert str(ended.value).startswith("error: ")
    assert message.format(home=tmp_path / "my home") in str(ended.value)
    assert list(tmp_path.iterdir()) == []


DIRECTORIES = """
import sys
from csdm_jax import main
from csdm_jax.experiment import command_line
command_line.parse_flags(sys.argv)
config = main.FLAGS.configuration()
print(main.FLAGS.directory(config))
print(config.data.data_dir)
"""


def directory(*flags, **environment):
    result = run(*flags, program=("-c", DIRECTORIES), **environment)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_overrides_lead_to_a_directory_of_their_own():
    base = "runs/digits_lt-imb10-ipc2"
    changed = ("--config.sdd.scale=2.0", "--config.alpha.head=0.8")
    assert directory(DIGITS, *changed)[0] == f"{base},head=0.8,scale=2"
    kept = ("--config.distill.steps=400", "--config.evaluate.count=4", "--config.sdd.scale=1.0")
    assert directory(DIGITS, *kept)[0] == base
    other_seed = directory(DIGITS, "--config.distill.seeds=(3,)")[0]
    assert other_seed == f"{base},seeds=3"


def test_directories_are_read_as_a_shell_reads_them(tmp_path):
    flags = (DIGITS, "--workdir=~/my runs/", "--data_dir=$DATA/x/")
    assert directory(*flags, HOME=str(tmp_path), DATA="/d") == [f"{tmp_path}/my runs", "/d/x"]


def write_config(folder, **fields):
    config = configuration.load("configs/digits_lt.py:imb=20,ipc=1")
    config.update_from_flattened_dict(fields)
    files.write_sealed_json(folder / "config.json", config.to_dict())
    return config


def test_the_config_of_a_run_goes_on_in_its_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    write_config(tmp_path / "my run", **{"sdd.scale": 3.0})
    file = tmp_path / "my run" / "config.json"
    for flags in ([f"--config={file}"], ["--config", str(file)]):
        assert directory(*flags)[0] == str(tmp_path / "my run")
    assert directory("--config=~/my run/config.json", HOME=str(tmp_path))[0] == str(file.parent)


def test_a_saved_configuration_comes_back(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = write_config(tmp_path, **{"evaluate.networks": ("convnet", "resnet18")})
    found = saved.get_config(str(tmp_path / "config.json"))
    assert configuration.flatten(found) == configuration.flatten(config)
    configuration.validate(found)
    content = json.loads((tmp_path / "config.json").read_text())
    del content["sdd"]["scale"], content["sha256"]  # an older version's
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert saved.get_config(str(tmp_path / "config.json")).sdd.scale == 1.0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "is no configuration: give a run's config.json"),
        ('{"method": "csdm", "sha256": "0"}', "was changed after it was written"),
        ('{"methd": "csdm"}', "did you mean config.method?"),
        ('{"distil": {"steps": 1}}', "did you mean config.distill.steps?"),
        ('{"sdd": {"scale": -1.0}}', "config.sdd.scale = -1.0: it must be"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(content, message, tmp_path):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(configuration.ConfigError, match=re.escape(message)):
        saved.get_config(str(tmp_path / "config.json"))
    assert message in one_line(run(f"--config={tmp_path / 'config.json'}"))


def test_a_screen_for_ascii_costs_characters_and_not_the_report(tmp_path):
    write_run(tmp_path, "csdm", 0, [50.0, 52.0], names=("ä", "кошка", "c"))
    draw = (
        "import sys, pathlib\n"
        "from csdm_jax.experiment import command_line\n"
        "from csdm_jax.reporting import table\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "with command_line.reported():\n"
        "    table.write(folder, [folder], ())\n"
    )
    for environment in ({"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}):
        result = run(tmp_path, program=("-c", draw), **environment)
        assert result.returncode == 0, result.stderr
        assert re.search(r"51\.0 (\?|±) 1\.4", result.stdout)
        assert (tmp_path / page.page.FILE).exists()
        assert "51.0 ± 1.4" in (tmp_path / "table.md").read_text(encoding="utf-8")
        (tmp_path / page.page.FILE).unlink()


def test_files_come_before_the_screen(tmp_path):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError("the screen is gone")

    write_run(tmp_path, "csdm", 0, [50.0, 52.0])
    with contextlib.redirect_stdout(Full()), pytest.raises(OSError, match="the screen is gone"):
        table.write(tmp_path, [tmp_path], OF_THE_RUN)
    assert {"table.md", "table.json", "report.html"} <= {p.name for p in tmp_path.iterdir()}


def test_a_config_that_is_not_there_is_told_which_ones_are(tmp_path):
    wrong = ("--config=configs/own_dat.py", f"--config={tmp_path}")
    file, folder = commands.run_all(tmp_path, [("csdm_jax.main", flag) for flag in wrong])
    said = one_line(file)
    assert "configs/own_dat.py does not exist: there are " in said and "configs/own_data.py" in said
    said = one_line(folder)
    assert f"{tmp_path} is a folder: give --config={tmp_path}/config.json" in said
