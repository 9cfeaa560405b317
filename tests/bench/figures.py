# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""How a benchmark says a figure that has a target. It measures and asserts nothing: a miss is said, and the run goes on."""

from __future__ import annotations


def figure(what: str, value: float, unit: str = "", *, most: float | None = None, least: float | None = None) -> None:
    missed = (most is not None and value > most) or (least is not None and value < least)
    bounds = [f"at {name} {bound:g}" for name, bound in (("most", most), ("least", least)) if bound is not None]
    print(f"  {what}: {round(value, 2):g} {unit}".rstrip() + f" ({', '.join(bounds)})" + ("  MISSED" if missed else ""))
