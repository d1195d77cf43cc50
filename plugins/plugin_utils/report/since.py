# SPDX-License-Identifier: GPL-3.0-or-later
"""Two verifications → what changed between them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BAD = ("failure", "error")
NOTHING: Mapping[str, Any] = {"began": None, "worse": [], "better": [], "new": 0, "gone": 0}


def since(previous: Mapping[str, Any] | None, results: list[dict[str, Any]]) -> dict[str, Any]:
    """What differs from an earlier verification.

    Args:
        previous: what the action `verify` saved then; None when there was none.
        results: the results of now, as plain data.

    Returns:
        ``began`` of the earlier one (null when there was none); ids of results that are ``worse``
        and ``better`` than then; numbers of results that only one of the two has, ``new`` and
        ``gone``. What was skipped on either side is no change.
    """
    if previous is None:
        return dict(NOTHING)
    then = {str(item["id"]): str(item["status"]) for item in previous["results"]}
    now = {str(item["id"]): str(item["status"]) for item in results}
    both = [name for name in now if name in then]
    return {
        "began": previous["began"],
        "worse": [n for n in both if then[n] == "success" and now[n] in BAD],
        "better": [n for n in both if then[n] in BAD and now[n] == "success"],
        "new": len(now) - len(both),
        "gone": len(then) - len(both),
    }


def failed_before(previous: Mapping[str, Any] | None, results: list[dict[str, Any]]) -> str:
    """When the earlier verification began, if all that fails now failed in it as well."""
    if previous is None:
        return ""
    then = {str(item["id"]) for item in previous["results"] if item["status"] in BAD}
    now = {str(item["id"]) for item in results if item["status"] in BAD}
    return str(previous["began"]) if now and now <= then else ""
