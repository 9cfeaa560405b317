# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""From manifests, node records and networks to one plan a host. Pure: no I/O but in roles.py, which reads the roles."""

from __future__ import annotations

from .faults import CompileError
from .plan import compile_plan

__all__ = ["CompileError", "compile_plan"]
