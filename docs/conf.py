"""The site: ``make docs`` builds it of these pages, the docstrings and the code, offline.

What the code already knows is written at each build by `docs.generated` and `docs.figures`. The
notebooks of the gallery are executed on the bundled sample.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from cilium_analysis import __version__  # noqa: E402
from docs import figures, generated  # noqa: E402

project = "cilium_analysis"
release = version = __version__
author = "The authors of cilium_analysis"
language = "en"
extensions = ["sphinx.ext.autodoc", "numpydoc", "myst_nb"]
exclude_patterns = ["_build", "_generated", "**/.ipynb_checkpoints"]
nitpicky = False
# A name in single backticks is one of this package if there is such a name, otherwise code.
default_role = "py:obj"

myst_enable_extensions = ["deflist", "fieldlist"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_merge_streams = True
# Findings and notes as JSON, for programs; the page shows their HTML.
suppress_warnings = ["mystnb.unknown_mime_type"]

autodoc_typehints = "signature"
python_use_unqualified_type_names = True
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

html_theme = "pydata_sphinx_theme"
html_title = "cilium_analysis"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["search-table.js"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "navbar_persistent": ["search-button"],
    "header_links_before_dropdown": 7,
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": [],
    "footer_end": [],
}
html_context = {"default_mode": "auto"}
html_sidebars = {name: [] for name in ("index", "tutorial", "architecture", "development")}


def _write(app: Sphinx) -> None:
    os.environ["CILIUM_ANALYSIS_SOURCE"] = "sample"
    generated.write(HERE)
    figures.draw(HERE / "_generated")


def _check(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        generated.refuse_foreign(Path(app.outdir))


def setup(app: Sphinx) -> None:
    """Write what is generated before the build, and check what was built."""
    app.connect("builder-inited", _write)
    app.connect("build-finished", _check)
