"""One's own methods, networks, parameterisations and data sources, by decorators."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from csdm_jax import data, networks, parameterisations
from csdm_jax.distillation import methods
from csdm_jax.distillation.needs import Need
from csdm_jax.runtime.fields import Field

Made = TypeVar("Made")


def register_method(
    name: str,
    *,
    needs: Sequence[Need] = (),
    fields: Mapping[str, Field] | None = None,
    published: Mapping[str, Any] | None = None,
) -> Callable[[Made], Made]:
    """A decorator: registers a function of configuration and context as a distillation method.

    Or a `Kind` that holds one, as `csdm_jax.distillation.methods.matching.matching.kind` makes it.

    Args:
      name: by which a configuration asks for it.
      needs: what it is supplied with, see `csdm_jax.distillation.needs`.
      fields: its own fields of the configuration, "section.field".
      published: settings of `recipe=published`.

    Raises:
      ValueError: for a name that is taken.
    """
    origin = _caller()

    def add(create: Any) -> Any:
        kind = create
        if not isinstance(create, methods.base.Kind):
            kind = methods.base.Kind(create, tuple(needs), fields or {}, published or {})
        methods.METHODS.register(name, kind, origin=origin)
        return create

    return add


def register_network(name: str) -> Callable[[Made], Made]:
    """A decorator: registers a Flax module as an architecture; see `csdm_jax.networks.NETWORKS`."""
    return _register(networks.NETWORKS, name, _caller())


def register_parameterisation(name: str) -> Callable[[Made], Made]:
    """A decorator: registers a function of `distill.factor` that gives a parameterisation.

    Its interface is `csdm_jax.parameterisations.Parameterisation`.
    """
    return _register(parameterisations.PARAMETERISATIONS, name, _caller())


def register_data(name: str) -> Callable[[Made], Made]:
    """A decorator: registers a function of (data_dir, cache_dir, reading) that gives a `Dataset`.

    `csdm_jax.data.from_arrays` makes one of arrays.
    """
    return _register(data.OWN, name, _caller())


def _register(registry: Any, name: str, origin: str) -> Callable[[Made], Made]:
    def add(entry: Made) -> Made:
        registry.register(name, entry, origin=origin)
        return entry

    return add


def _caller() -> str:
    """The file that called one of the functions above."""
    return sys._getframe(2).f_code.co_filename
