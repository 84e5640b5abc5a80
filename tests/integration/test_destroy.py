"""An environment goes only by its name, leaves nothing, and can be built anew with the secrets it had."""

from __future__ import annotations

from tests.integration.conftest import Creation
from tests.integration.support.azure import resource_ids
from tests.integration.support.lab import Lab
from tests.integration.support.playbook import run_playbook


def test_another_name_deletes_nothing(converged_lab: Lab) -> None:
    before = resource_ids(converged_lab)
    refused = run_playbook(converged_lab, "destroy", extra={"destroy_confirm": "production"})
    assert "Nothing was" in refused.failure()
    assert resource_ids(converged_lab) == before


def test_its_name_deletes_all_and_it_can_be_built_anew(converged_lab: Lab, creation: Creation) -> None:
    run_playbook(converged_lab, "destroy", extra={"destroy_confirm": "lab"}).ok()
    assert resource_ids(converged_lab) == creation.empty
    anew = run_playbook(converged_lab, "site", "--skip-tags", "verify").ok()
    secrets = anew.convergences["key_vault_secrets"]
    assert secrets["changed"] is False, "the recovered vault holds its secrets"
