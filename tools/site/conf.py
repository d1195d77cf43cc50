# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphinx settings of the docs site: docs/ as it is, and what antsibull-docs writes."""

from __future__ import annotations

project = "podnet.fabric"
title = html_short_title = html_title = "podnet.fabric"
project_copyright = "podnet developers"
extensions = ["myst_parser", "sphinx_antsibull_ext"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
html_theme = "sphinx_ansible_theme"
html_show_sphinx = False
html_theme_options = {"documentation_home_url": "index.html", "collapse_navigation": True}
# Links such as #words inside a page.
myst_heading_anchors = 3
pygments_style = "ansible"
highlight_language = "yaml"
# Colours of an example in a language that Pygments does not fully know are no reason to fail.
suppress_warnings = ["misc.highlighting_failure"]
