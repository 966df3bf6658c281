"""Which folders become packages; all else is in setup.cfg.

`configs/` and `results/` lie beside the package, and go into it when it is installed.
"""

from setuptools import find_packages, setup

BESIDE = {"csdm_jax.configs": "configs", "csdm_jax.results": "results"}

setup(packages=[*find_packages(include=["csdm_jax*"]), *BESIDE], package_dir=BESIDE)
