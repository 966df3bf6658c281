"""The metric needs jax alone, and its docstrings' examples run."""

import doctest
import importlib
import importlib.util
import subprocess
import sys

import pytest

import csdm_jax
import csdm_jax.api
from csdm_jax import _moved

PROGRAM = """
import sys

class Blocker:
    blocked = {
        "absl", "tensorflow", "tensorflow_datasets", "flax", "optax", "chex", "ml_collections",
        "orbax", "clu", "PIL", "sklearn", "jaxtyping", "beartype",
    }

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.blocked:
            raise ImportError("blocked: " + name)

sys.meta_path.insert(0, Blocker())
try:
    import absl
except ImportError:
    pass
else:
    raise SystemExit("the blocker blocks nothing")
import csdm_jax
import jax

missing = [name for name in csdm_jax.__all__ if not hasattr(csdm_jax, name)]
assert not missing, missing
assert not Blocker.blocked & set(sys.modules), Blocker.blocked & set(sys.modules)
t = csdm_jax.sample_frequencies(jax.random.key(0), csdm_jax.RBF(1.0), 4, 2)
print(float(csdm_jax.sdd_loss(t, t, t)))
"""


def test_the_lazy_names_are_those_of_the_interface():
    assert tuple(csdm_jax.api.__all__) == csdm_jax.METHOD


def test_another_spelling_is_told_the_name():
    with pytest.raises(AttributeError, match="did you mean 'distil'"):
        _ = csdm_jax.distill


def test_import_needs_jax_alone():
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "0.0"


MODULES = [
    "bandwidth",
    "characteristic",
    "distances",
    "estimators",
    "dot_kernels",
    "frequencies",
    "gradients",
    "kernels",
    "mmd",
    "numerics",
    "rotations",
    "schedules",
    "sketches",
    "two_sample",
]


@pytest.mark.parametrize("name", MODULES)
def test_doctests(name):
    failed, attempted = doctest.testmod(importlib.import_module(f"csdm_jax.metric.{name}"))
    assert failed == 0
    assert attempted >= 1


def test_every_public_name_has_an_example():
    without = [
        name
        for name in csdm_jax.__all__
        if name != "Kernel" and ">>>" not in getattr(csdm_jax, name).__doc__
    ]
    assert without == []


OLD_NAMES = """
import sys
import warnings

warnings.simplefilter("error")
import csdm_jax
from csdm_jax.distillation.methods import base
from csdm_jax.distillation.methods import csdm, matching
from csdm_jax.metric import kernels

warnings.simplefilter("always")
with warnings.catch_warnings(record=True) as said:
    from csdm_jax import kernels as old
    from csdm_jax.methods import csdm as old_csdm
    from csdm_jax.methods.matching import Matching
    from csdm_jax.methods.base import Context
assert old is kernels and old_csdm is csdm and Matching is matching.Matching
assert Context is base.Context
assert [str(one.message).split(" since")[0] for one in said] == [
    "csdm_jax.kernels is csdm_jax.metric.kernels",
    "csdm_jax.methods is csdm_jax.distillation.methods",
    "csdm_jax.methods.matching is csdm_jax.distillation.methods.matching",
    "csdm_jax.methods.base is csdm_jax.distillation.methods.base",
], [str(one.message) for one in said]
assert all(one.category is DeprecationWarning for one in said)
"""


def test_modules_that_moved_keep_their_old_names_with_a_warning():
    run = subprocess.run(
        [sys.executable, "-c", OLD_NAMES], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("old, new", _moved.MOVED.items())
def test_every_old_name_leads_to_a_module(old, new):
    assert importlib.util.find_spec(f"csdm_jax.{new}").origin
    assert importlib.util.find_spec(f"csdm_jax.{old}").loader._name == f"csdm_jax.{new}"


def test_a_function_that_was_renamed_keeps_its_old_name_with_a_warning():
    # The attribute itself is the command's module once something has imported that.
    with pytest.warns(
        DeprecationWarning, match=r"csdm_jax\.compare\(\) is csdm_jax\.compare_methods"
    ):
        assert csdm_jax.__getattr__("compare") is csdm_jax.compare_methods
