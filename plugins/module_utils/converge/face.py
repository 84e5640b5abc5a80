# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every module that converges does around its work: end with a result, or with one clear error."""

from __future__ import annotations

import traceback
import typing as t
from collections.abc import Callable

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import OutcomeError, PlatformError

__all__ = ["exit_with"]


def exit_with(module: AnsibleModule, converge: Callable[[], dict[str, t.Any]], *, libraries: str) -> t.NoReturn:
    """Do the work and end the module.

    Args:
        module: the module.
        converge: gives the result.
        libraries: what to install when an import fails that does not say what it misses.
    """
    try:
        result = converge()
    except OutcomeError as exc:
        module.fail_json(msg=str(exc), **exc.outcome)
    except PlatformError as exc:
        module.fail_json(msg=str(exc))
    except ImportError as exc:
        module.fail_json(msg=missing_required_lib(str(exc.name or libraries)), exception=traceback.format_exc())
    module.exit_json(**result)
    raise AssertionError("exit_json does not return")
