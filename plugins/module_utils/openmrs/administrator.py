# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A user of OpenMRS who signs in over REST and changes the own password.

Source: https://rest.openmrs.org, "Session" and "Change password".
"""

from __future__ import annotations

import json
import typing as t

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import PlatformError
from ansible_collections.audioprothese.platform.plugins.module_utils.verify.pages import Answer

if t.TYPE_CHECKING:
    from ansible_collections.audioprothese.platform.plugins.module_utils.verify.https import Client

__all__ = ["Administrator", "OpenMRSError"]

_REST: t.Final = "/openmrs/ws/rest/v1"
_UNAUTHORIZED: t.Final = 401
_DONE: t.Final = (200, 204)


class OpenMRSError(PlatformError):
    """OpenMRS refused, or cannot be asked."""


class Administrator:
    """The user.

    Args:
        client: sends the requests.
        url: address of OpenMRS, C(https://host).
        name: user name.
    """

    def __init__(self, client: Client, url: str, name: str) -> None:
        self._client = client
        self._url = f"{url.rstrip('/')}{_REST}"
        self.name = name

    def accepts(self, password: str) -> bool | None:
        """Whether a password signs in; None where nobody tells."""
        answer = self._client.ask(f"{self._url}/session", login=(self.name, password))
        if answer.status == _UNAUTHORIZED:
            return False
        found = _json(answer).get("authenticated") if answer.status in _DONE else None
        return found if isinstance(found, bool) else None

    def exchange(self, old: str, new: str) -> None:
        """Change the password.

        Raises:
            OpenMRSError: it was not changed.
        """
        answer = self._client.ask(
            f"{self._url}/password",
            method="POST",
            body={"oldPassword": old, "newPassword": new},
            login=(self.name, old),
        )
        if answer.status not in _DONE:
            said = (_json(answer).get("error") or {}).get("message") or answer.problem or answer.status
            raise OpenMRSError(
                f"the password was not changed: {said}",
                where=f"OpenMRSUser/{self.name}",
                remedy="Look at the log of the backend, and run again; the password before is still accepted",
            )


def _json(answer: Answer) -> dict[str, t.Any]:
    try:
        found = json.loads(answer.body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
