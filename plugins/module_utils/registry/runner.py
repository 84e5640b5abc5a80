# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Converge the images of a registry: read, compare, plan, import, look again, report."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Callable, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.report import Report
from ansible_collections.audioprothese.platform.plugins.module_utils.registry.client import RegistryError
from ansible_collections.audioprothese.platform.plugins.module_utils.registry.images import (
    Image,
    Outcome,
    plan,
    resource_id,
)

__all__ = ["Options", "Registry", "Runner"]


class Registry(t.Protocol):
    """What the runner asks of a registry; see C(client.RegistryClient)."""

    def login_server(self) -> str | None: ...  # noqa: D102

    def digest(self, server: str, image: Image) -> str | None: ...  # noqa: D102

    def bring(self, image: Image, *, force: bool) -> None: ...  # noqa: D102


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user asked for.

    Attributes:
        registry_id: ARM id of the registry.
        check: write nothing.
        expect_plan: digest of the approved plan, or empty.
    """

    registry_id: str
    check: bool = False
    expect_plan: str = ""


class Runner:
    """One run of the module.

    Args:
        registry: the registry.
        options: what the user asked for.
        hold: takes the environment's lease and gives what to call before each write.
        report: gets what is found and done.
    """

    def __init__(
        self,
        registry: Registry,
        options: Options,
        *,
        hold: Callable[[], Callable[[], None]] = lambda: lambda: None,
        report: Report | None = None,
    ) -> None:
        self._registry, self._options, self._hold = registry, options, hold
        self._report = report or Report()

    def run(self, wanted: Sequence[Image]) -> dict[str, t.Any]:
        """Make sure that the registry holds the images.

        Raises:
            PlatformError: before the first write.
            OutcomeError: an import failed, with what was done until then.
        """
        report = self._report
        with report.timing.phase("read"):
            server = self._registry.login_server()
            if server is None and not self._options.check:
                raise InputError(
                    "the registry does not exist",
                    where=self._options.registry_id,
                    remedy="Create it first (role registry), or correct registry_id",
                )
            live = self._live(server, wanted) if server else None
        outcome = plan(wanted, live, registry_id=self._options.registry_id)
        report.findings, report.actions = outcome.findings, outcome.actions
        report.check_expected(self._options.expect_plan)
        for image in wanted:
            if live and image.name in live:
                self._show(image, live[image.name])
        if outcome.actions and server and not self._options.check:
            self._apply(outcome, server)
        return report.result()

    def _live(self, server: str, wanted: Sequence[Image]) -> dict[str, str]:
        found = {image.name: self._registry.digest(server, image) for image in wanted}
        return {name: digest for name, digest in found.items() if digest}

    def _apply(self, outcome: Outcome, server: str) -> None:
        before_write = self._hold()
        self._report.actions = []
        with self._report.timing.phase("apply"), self._report.reporting():
            for action in outcome.actions:
                image = outcome.wanted[action.resource]
                before_write()
                self._report.progress.say(f"importing {image.registry}/{image.name}")
                self._registry.bring(image, force=action.verb == "update")
                self._show(image, self._proven(server, image))
                self._report.actions.append(action)

    def _proven(self, server: str, image: Image) -> str:
        """The digest that the tag has after the import, which must be the pinned one."""
        digest = self._registry.digest(server, image)
        if digest is None or (image.digest and digest != image.digest):
            raise RegistryError(
                f"it holds {digest or 'nothing'} after the import, and {image.digest or 'the image'} was asked for",
                where=f"{server}/{image.name}",
                remedy="Somebody else writes to this tag: find out who, and run again",
            )
        return digest

    def _show(self, image: Image, digest: str) -> None:
        shown = {**image.document(), "digest": digest}
        self._report.resources[resource_id(self._options.registry_id, image)] = shown
