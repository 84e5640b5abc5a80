"""What an environment changes of the alerts."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.audioprothese.platform.plugins.filter.alert_rules import alert_rules

NOTES = {"summary": "s", "runbook_url": "docs/alerts.md#down"}
DOWN = {"alert": "Down", "expr": "up == 0", "for": "5m", "labels": {"severity": "critical"}, "annotations": NOTES}
AT_ONCE = {"alert": "AtOnce", "expr": "vector(1)", "labels": {}, "annotations": {**NOTES, "runbook_url": "x"}}
RECORD = {"record": "a:b", "expr": "sum(up)"}
FILES = {
    "one.yml": {"groups": [{"name": "g", "interval": "1m", "rules": [DOWN, RECORD]}, {"name": "h", "rules": [AT_ONCE]}]}
}


def fitted(**options: Any) -> dict[str, Any]:
    """The rules by name."""
    groups = alert_rules(FILES, **options)["one.yml"]["groups"]
    return {rule.get("alert", rule.get("record")): rule for group in groups for rule in group["rules"]}


def test_nothing_asked_changes_nothing() -> None:
    assert alert_rules(FILES) == FILES


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ({"wait": "5s"}, {"for": "5s"}),
        ({"overrides": {"Down": {"expr": "up < 1"}}}, {"expr": "up < 1"}),
        ({"overrides": {"Down": {"labels": {"team": "a"}}}}, {"labels": {"severity": "critical", "team": "a"}}),
        ({"wait": "5s", "overrides": {"Down": {"for": "1m"}}}, {"for": "1m"}),
        (
            {"runbook_base": "https://e.fr/"},
            {"annotations": {**NOTES, "runbook_url": "https://e.fr/docs/alerts.md#down"}},
        ),
    ],
)
def test_what_is_asked_changes_that_alone(options: dict[str, Any], changed: dict[str, Any]) -> None:
    found = fitted(**options)
    assert found["Down"] == {**DOWN, **changed}
    assert found["a:b"] == RECORD
    assert "for" not in found["AtOnce"]


def test_what_is_left_out_is_not_there() -> None:
    assert set(fitted(left_out=["Down"])) == {"a:b", "AtOnce"}
    assert DOWN["for"] == "5m", "what was given was changed"


@pytest.mark.parametrize("options", [{"left_out": ["Dwn"]}, {"overrides": {"Dwn": {}}}])
def test_a_name_that_no_rule_has_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(AnsibleFilterError, match="there is no alert Dwn, did you mean Down"):
        alert_rules(FILES, **options)
