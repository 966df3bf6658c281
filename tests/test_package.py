"""The package as it is installed: its archives, and the digits from an empty environment."""

import configparser
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from csdm_jax import cli
from csdm_jax.experiment import stages
from csdm_jax.runtime import extras, shipped
from csdm_jax.runtime.version import __version__
from tests.flags import QUICK
from tests.test_main import SMALL

ROOT = Path(__file__).parent.parent
LEFT = (".git", ".venv", "runs", "build", "*.egg-info", ".*_cache", "__pycache__", "ablations")
CORE = """
import sys
import jax, csdm_jax
t = csdm_jax.sample_frequencies(jax.random.key(0), csdm_jax.RBF(1.0), 4, 2)
assert float(csdm_jax.sdd_loss(t, t, t)) == 0
assert csdm_jax.__version__ == VERSION and ROOT not in csdm_jax.__file__
assert "flax" not in sys.modules
"""


def call(*command, **options):
    return subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=600, **options
    )


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """An sdist of the checkout, and the wheel that is built from it alone."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(ROOT, folder / "copy", ignore=shutil.ignore_patterns(*LEFT))
    build = (sys.executable, "-m", "build", "--no-isolation", "--outdir", folder)
    made = call(*build, "--sdist", folder / "copy")
    assert made.returncode == 0, made.stdout + made.stderr
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    made = call(*build, "--wheel", unpacked)
    assert made.returncode == 0, made.stdout + made.stderr
    (wheel,) = folder.glob("*.whl")
    return unpacked, wheel


def test_the_wheel_holds_what_a_run_needs(archives):
    _, wheel = archives
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry_points = archive.read(f"csdm_jax-{__version__}.dist-info/entry_points.txt")
    for source in ("csdm_jax", "configs"):
        for path in (ROOT / source).rglob("*"):
            if path.suffix in (".py", ".html", ".typed"):
                inside = path.relative_to(ROOT)
                prefix = "" if source == "csdm_jax" else "csdm_jax/"
                assert f"{prefix}{inside.as_posix()}" in names
    results = ("manifest.json", "digits_lt/distilled.npz")
    assert {f"csdm_jax/results/{name}" for name in results} <= names
    assert b"csdm = csdm_jax.cli:main" in entry_points
    assert not [name for name in names if name.startswith(("tests/", "configs/", "launch/"))]


def test_the_sdist_holds_the_tests_and_their_helpers(archives):
    unpacked, _ = archives
    for path in (ROOT / "tests").rglob("*.py"):
        assert (unpacked / path.relative_to(ROOT)).exists()
    for name in ("launch/test.sh", "benchmarks/step.py", ".ci/run", "requirements.txt"):
        assert (unpacked / name).exists()


@pytest.fixture(scope="module")
def installed(archives, tmp_path_factory):
    """Installs the wheel, with extras, into one empty environment outside the checkout."""
    home = tmp_path_factory.mktemp("elsewhere")
    venv.create(home / "venv", with_pip=True)
    outside = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    outside["XLA_FLAGS"] = QUICK
    outside["PATH"] = f"{home / 'venv' / 'bin'}:{outside['PATH']}"

    def run(*command):
        return call(*command, cwd=home, env=outside)

    def install(extra=""):
        pip = ("python", "-m", "pip", "install", "--quiet", "--no-compile")
        done = run(*pip, f"{archives[1]}{extra}")
        unreachable = ("No matching distribution", "Connection", "Temporary failure")
        if done.returncode and any(text in done.stderr for text in unreachable):
            pytest.skip(f"no package index: {done.stderr.strip().splitlines()[-1]}")
        assert done.returncode == 0, done.stderr
        return run

    return install


def test_the_core_brings_the_metric_and_says_what_distilling_needs(installed):
    run = installed()
    program = CORE.replace("VERSION", repr(__version__)).replace("ROOT", repr(str(ROOT)))
    done = run("python", "-c", program)
    assert done.returncode == 0, done.stderr
    done = run("csdm", "--version")
    assert done.stdout == f"csdm_jax {__version__}\n"
    done = run("csdm", "distil", "--config=digits_lt")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and 'pip install "csdm_jax[distil]"' in done.stderr
    listed = run("python", "-m", "pip", "list", "--format=freeze").stdout
    assert len(listed.splitlines()) < 15, listed


def test_the_digits_run_from_an_empty_environment(installed):
    run = installed("[distil]")
    done = run("csdm", "distil", "--config=digits_lt:imb=10", "--workdir=mine", *SMALL)
    assert done.returncode == 0, done.stderr
    assert "| csdm | convnet | 2 x 2 |" in done.stdout
    done = run("csdm", "reproduce", "--list")
    assert done.returncode == 0 and "digits_lt/csdm" in done.stdout
    done = run("csdm", "export", "mine", "--format=safetensors", "--out=theirs")
    assert done.returncode == 1 and 'pip install "csdm_jax[formats]"' in done.stderr


def test_the_command_lists_its_subcommands_and_names_the_nearest(capsys):
    assert cli.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"\n  {name} " in said for name in cli.COMMANDS)
    assert cli.main(["distill"]) == 2
    assert "did you mean 'distil'?" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["report", "--help"]])
def test_output_that_nobody_reads_on_leaves_no_traceback(arguments):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "csdm_jax.cli", *arguments]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, cwd=ROOT, check=False)
    os.close(write)
    assert done.returncode == 1 and not done.stderr


def test_a_pipe_that_is_not_the_output_s_is_not_passed_over(monkeypatch):
    def broken(argv):
        raise BrokenPipeError("of a worker")

    monkeypatch.setattr(cli, "_run", broken)
    with pytest.raises(BrokenPipeError, match="of a worker"):
        cli.main(["distil"])


def test_a_missing_package_of_ours_is_no_missing_extra():
    with pytest.raises(ModuleNotFoundError, match=r"csdm_jax\.nothing"), extras.needed("distil"):
        import csdm_jax.nothing  # noqa: F401
    named = r'nothing_here is .*"csdm_jax\[report\]"'
    missing = pytest.raises(extras.MissingError, match=named)
    with missing, extras.needed("distil"), extras.needed("report"):
        import nothing_here  # noqa: F401


def test_packages_of_a_later_stage_are_looked_for_first():
    extras.check("report", "json")
    with pytest.raises(extras.MissingError, match=r'nothing_here is .*"csdm_jax\[report\]"'):
        extras.check("report", "json", "nothing_here")


def test_a_run_that_could_not_draw_its_report_computes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for stage in ("all", "report"):
        with pytest.raises(extras.MissingError, match=r"csdm_jax\[report\]"):
            stages.run(None, tmp_path / "work", stage=stage)
    assert not (tmp_path / "work").exists()


def test_help_and_version_import_none_of_what_extras_bring():
    program = """if True:
        import sys
        from csdm_jax import cli
        assert cli.main(["--help"]) == cli.main(["--version"]) == 0
        heavy = {"absl", "flax", "matplotlib", "ml_collections", "optax", "scipy", "sklearn"}
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
    """
    done = call(sys.executable, "-c", program, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_the_full_set_is_what_the_core_and_its_extras_ask_for():
    options = configparser.ConfigParser()
    options.read(ROOT / "setup.cfg")
    extra = options["options.extras_require"]

    def asked(text):
        for line in filter(None, text.splitlines()):
            if own := re.fullmatch(r"csdm_jax\[(.*)\]", line):
                for name in own[1].split(","):
                    yield from asked(extra[name])
            elif not line.startswith("#"):
                yield line

    full = (ROOT / "requirements.txt").read_text().splitlines()
    assert {line for line in full if not line.startswith("#")} == {
        *asked(options["options"]["install_requires"]),
        *asked(extra["all"]),
    }


def test_configurations_are_found_by_name_and_by_their_path_in_the_repository():
    assert "digits_lt" in shipped.configs()
    assert shipped.config("digits_lt") == shipped.config("configs/digits_lt.py")
    assert shipped.config("digits") is None and shipped.config("mine/digits_lt.py") is None
