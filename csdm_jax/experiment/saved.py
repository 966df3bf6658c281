"""The configuration that a run left in its directory, as a file of `configs/`.

    python -m csdm_jax.main --config=W/config.json

goes on in W. Fields that the file lacks, of an older version, have their defaults.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from csdm_jax.experiment import config as configuration
from csdm_jax.storage import files

NAME = "config.json"


def get_config(path: str) -> Any:
    """The configuration in a `config.json`.

    Raises:
      ConfigError: for a file that is no configuration, or was changed after it was written.
    """
    try:
        content = json.loads(Path(path).read_bytes())
        if isinstance(content, dict) and files.SEAL in content:
            content = files.read_sealed_json(path)
    except files.DamagedError as error:
        raise configuration.ConfigError(
            f"{error}: take its field {files.SEAL!r} out, if it was you who changed it"
        ) from error
    except ValueError as error:
        raise configuration.ConfigError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise configuration.ConfigError(f"{path} is no configuration: give a run's config.json")
    config = configuration.default_config()
    for name, value in configuration.flatten(content).items():
        value = tuple(value) if isinstance(value, list) else value
        configuration.check_field(name, value)
        config.update_from_flattened_dict({name: value})
    return config
