"""The documentation's Sphinx configuration: `bash launch/docs.sh` builds the pages.

Pages in `reference/` are templates: what the registries, the fields of the configuration and the
public names of the package say is written into them at build time.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "csdm_jax"
author = "the csdm_jax authors"
copyright = author

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "mathml",
    "registries",
]
exclude_patterns = ["_extensions"]

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_theme_options = {
    "navbar_persistent": [],
    "show_toc_level": 2,
    "use_download_button": False,
}
html_copy_source = html_show_sourcelink = False

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_links_external_new_tab = False

# Notebooks run once and again after a change of their text.
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 180
nb_execution_show_tb = True
nb_merge_streams = True

add_module_names = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
default_role = "code"  # docstrings write code in single backticks, as Markdown does
napoleon_use_ivar = True
napoleon_attr_annotations = False  # docstrings say types, and shapes with them
python_use_unqualified_type_names = True

nitpicky = True
# Other packages' names: to look them up would need the network.
nitpick_ignore_regex = [("py:.*", r"(?!csdm_jax\b).*")]
TYPE_VARIABLES = ("csdm_jax.api.registering.Made", "csdm_jax.runtime.registry.Entry")
nitpick_ignore = [("py:class", name) for name in TYPE_VARIABLES]
