# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: 2026 the seedcloud.openstack authors
"""The way to a cloud: clouds.yaml and nothing else, no matter what the environment says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

try:
    import openstack
    from keystoneauth1.exceptions import ClientException
    from openstack import exceptions

    # What the SDK raises, and what comes through it from below: no answer, no such endpoint, no login.
    FAULTS: tuple[type[Exception], ...] = (exceptions.SDKException, ClientException)

    HAS_OPENSTACK = True
except ImportError:
    exceptions = None
    FAULTS = ()
    HAS_OPENSTACK = False

__all__ = ["FAULTS", "HAS_OPENSTACK", "connect", "exceptions", "not_there_yet"]


def not_there_yet(clouds_file: str | None) -> bool:
    """Whether a run that acted would have made the way to this cloud before: there is no library, or no such file."""
    return not HAS_OPENSTACK or (clouds_file is not None and not Path(clouds_file).exists())


def connect(cloud: str, clouds_file: str | None) -> Any:
    """A connection to the cloud of this name. Does not sign in yet. An SDKException names the file."""
    files = [clouds_file] if clouds_file else None
    try:
        config = openstack.config.OpenStackConfig(config_files=files, load_envvars=False)
        return openstack.connection.Connection(config=config.get_one(cloud=cloud))
    except FAULTS as exc:
        raise exceptions.SDKException(f"{clouds_file or 'clouds.yaml'}: {exc}") from exc
