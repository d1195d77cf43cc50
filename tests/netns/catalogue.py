# SPDX-License-Identifier: GPL-3.0-or-later
"""The fault catalogue, whole."""

from __future__ import annotations

from catalogue_nodes import BRIDGE, FILTERS, PODS, SETTINGS
from catalogue_ways import OVERLAY, ROUTES, UNDERLAY

CATALOGUE = (*ROUTES, *OVERLAY, *BRIDGE, *SETTINGS, *FILTERS, *UNDERLAY, *PODS)
