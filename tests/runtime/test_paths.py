"""What a user writes as a path, and what it means."""

import argparse
import os
import re
from pathlib import Path

import pytest

from csdm_jax.data import cache, tfds_source
from csdm_jax.runtime import paths


@pytest.fixture
def homeless(monkeypatch):
    """No HOME, and a user that the system does not know, as in many containers."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: (_ for _ in ()).throw(KeyError(uid)))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("~/x", "/home/me/x"),
        ("~", "/home/me"),
        ("a/b/", "a/b"),
        ("./a", "a"),
        ("../a", "../a"),
        ("/a//b/", "/a/b"),
        ("my data/x y", "my data/x y"),
        ("$PLACE/x", "/scratch/x"),
        ("${PLACE}/x", "/scratch/x"),
        ("a~b", "a~b"),
        ("кошка/猫", "кошка/猫"),
    ],
)
def test_a_path_means_what_a_shell_makes_of_it(text, meant, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("PLACE", "/scratch")
    assert paths.given(text) == Path(meant)
    assert paths.given(Path(text)) == Path(meant)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is no path: give the name of a file or folder"),
        (" ", "' ' is no path"),
        ("a\x00b", "is no path"),
        ("$NOWHERE_SET/x", "the variable NOWHERE_SET is not set"),
        ("${NOWHERE_SET}/x", "the variable NOWHERE_SET is not set"),
        ("~no_such_user_here/x", "the home directory is not known: set HOME, or give a path"),
    ],
)
def test_a_path_that_cannot_be_meant_is_refused(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        paths.given(text)
    with pytest.raises(argparse.ArgumentTypeError, match=re.escape(message)):
        paths.given(text)


def test_without_a_home_what_needs_one_says_what_to_give(homeless, tmp_path, monkeypatch):
    for name in ("XDG_CACHE_HOME", "TFDS_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=r"path '~/x': the home directory is not known: set HOME"):
        paths.given("~/x")
    with pytest.raises(ValueError, match=r"set HOME, or give data_dir, or TFDS_DATA_DIR"):
        tfds_source.load(tfds_source.CIFAR10, None, tmp_path)
    with pytest.raises(ValueError, match=r"set HOME, or give cache_dir"):
        cache.cached("x", {}, None, lambda: None)


def test_environment_variables_are_read_as_paths(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TFDS_DATA_DIR", "~/my data/")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert paths.from_environment("TFDS_DATA_DIR") == tmp_path / "my data"
    assert paths.from_environment("XDG_CACHE_HOME") is None
    message = re.escape(f"is not prepared in {tmp_path / 'my data'}")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=message):
        tfds_source.load(tfds_source.CIFAR10, None, tmp_path)
    assert not os.path.exists("~")
