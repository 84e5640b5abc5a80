"""The replicas' own password is rotated: they go on, also when they have to sign in again."""

from __future__ import annotations

import time
from typing import Any

import pytest
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.accounts_runner import (
    AccountsRunner,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.accounts_runner import (
    Options as AccountsOptions,
)
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.replication_runner import (
    Options,
    ReplicationRunner,
)

from tests.contract.mariadb import PASSWORDS
from tests.contract.test_mariadb_accounts import LEFT_ALONE, passwords_of
from tests.contract.test_mariadb_replication import Cluster, built, cluster

__all__ = ["built", "cluster"]

pytestmark = pytest.mark.soak  # three servers, as in test_mariadb_replication.py

NEW = "Replica.of-the-next-90-days"


def accounts(cluster: Cluster, current: str, previous: str = "") -> None:
    """Converge the accounts of all servers, with an overlap if there is a password before."""
    passwords = {**passwords_of(cluster.accounts), "replication@%": current}
    options = AccountsOptions(left_alone=tuple(LEFT_ALONE))
    runner = AccountsRunner(servers=cluster.asked)
    runner.run(cluster.accounts, passwords, options, previous={"replication@%": previous})


def replication(cluster: Cluster, password: str, **options: Any) -> Any:
    """Converge replication with a password."""
    default = {"primary": 0, "source": cluster.source, "backup_user": "backup", "backup_password": "unused"}
    return ReplicationRunner(servers=cluster.asked).run(Options(password=password, **{**default, **options}))


def sign_in_again(cluster: Cluster) -> None:
    """Cut the replicas off, as a network does."""
    rows = cluster.servers[0].root("SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'")
    for row in rows.split():
        cluster.servers[0].root(f"KILL {row}")


def rotate(cluster: Cluster, *, renew: bool) -> None:
    old = PASSWORDS["replication-password"]
    accounts(cluster, NEW, old)
    done = replication(cluster, NEW, renew_password=renew)
    assert len(done["plan"]) == (2 if renew else 0)
    assert NEW not in str(done)
    accounts(cluster, NEW)
    sign_in_again(cluster)
    cluster.write(0, "after")
    for number in (1, 2):
        cluster.await_patient(number, "after")


@pytest.fixture(autouse=True)
def as_before(cluster: Cluster) -> Any:
    """Give the servers the password of all other tests back."""
    yield
    accounts(cluster, PASSWORDS["replication-password"])
    replication(cluster, PASSWORDS["replication-password"], renew_password=True)


def test_replicas_sign_in_with_the_new_password(cluster: Cluster) -> None:
    rotate(cluster, renew=True)
    assert not replication(cluster, NEW)["findings"]


@pytest.mark.sabotage
def test_replicas_that_keep_the_old_password_are_noticed(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(_self: Cluster, number: int, _name: str) -> None:
        deadline = time.monotonic() + 60
        while "Access denied" not in cluster.servers[number].root("SHOW ALL SLAVES STATUS"):
            assert time.monotonic() < deadline, "it signed in all the same"
            time.sleep(0.5)
        raise AssertionError("did not reach the server")

    monkeypatch.setattr(Cluster, "await_patient", lost)
    with pytest.raises(AssertionError, match="did not reach the server"):
        rotate(cluster, renew=False)
