"""Inserting rows on a separate connection: columns, durability, prepared statements and locks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.db import ProgrammingError, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.errors import DuplicatePreparedStatement, InvalidSqlStatementName

from events.models import WebhookRequest
from events.processing import normalize
from events.receiver import group_commit, own_connection, request_table
from events.receiver.group_commit import Writer
from events.receiver.request_table import RequestTable
from events.storage import request_row
from events.storage.bulk_insert import Target
from providers.audit import state_changes
from subscriptions.lifecycle import secret_rotation
from subscriptions.models import State, Subscription
from tests.harness.fake_provider import body_of, store_request
from tests.harness.receiving import make_row, stored_ids

pytestmark = pytest.mark.django_db(transaction=True)


def test_can_insert_stores_nothing(hook: Subscription) -> None:
    table = RequestTable()
    row = make_row(hook)
    try:
        assert table.can_insert(row)
        assert stored_ids() == set()
        table.insert([row])
        assert table.can_insert(row)
        assert stored_ids() == {row.uid}
    finally:
        table.close()


def test_row_has_all_columns_of_a_request() -> None:
    assert WebhookRequest._meta.db_table == request_row.REQUESTS.table
    set_later = {"id", "tries", "tried_at", "dismissed_at"}
    names = {field.column for field in WebhookRequest._meta.concrete_fields} - set_later
    assert set(request_row.REQUESTS.columns) == names


def test_row_is_stored_as_django_stores_it(hook: Subscription, own_writer: Writer) -> None:
    plain = make_row(hook, b"\x00\xff" * 1000)
    full = make_row(hook, b"", processed_at=datetime(2026, 1, 2, tzinfo=UTC), outcome="rejected", query="\u2028é")
    own_writer.store(plain)
    own_writer.store(full)
    first, second = WebhookRequest.objects.order_by("id")
    assert (first.uid, bytes(first.body), first.size) == (plain.uid, b"\x00\xff" * 1000, 2000)
    assert (first.received_at, first.processed_at) == (plain.received_at, None)
    assert (first.headers, first.sealed_headers, first.repeated_keys) == ([["A", "b"]], {}, [])
    assert (first.account_id, first.subscription) == (hook.account_id, hook)
    assert (second.processed_at, second.outcome, second.query) == (full.processed_at, "rejected", "\u2028é")
    # Saving with Django changes nothing.
    before = WebhookRequest.objects.filter(pk=first.pk).values().get()
    WebhookRequest.objects.get(pk=first.pk).save()
    assert WebhookRequest.objects.filter(pk=first.pk).values().get() == before


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no server that drops connections")
def test_dropped_connection_is_reopened(hook: Subscription, own_writer: Writer) -> None:
    own_writer.store(make_row(hook))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    own_writer.store(make_row(hook))
    assert WebhookRequest.objects.count() == 2


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL prepares statements")
def test_statement_is_prepared(hook: Subscription) -> None:
    table = RequestTable()
    try:
        table.insert([make_row(hook)])
        assert table._connection is not None
        with table._connection.cursor() as cursor:
            cursor.execute("SELECT statement FROM pg_prepared_statements")
            ((statement,),) = cursor.fetchall()
        assert statement.startswith("INSERT INTO events_webhookrequest")
    finally:
        table.close()


@pytest.mark.parametrize("error", [InvalidSqlStatementName, DuplicatePreparedStatement])
def test_statements_are_not_prepared_behind_an_incompatible_pooler(
    hook: Subscription, own_writer: Writer, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    opened: list[bool] = []
    insert, open_own_connection = Target.insert, own_connection.open_own_connection

    def open_and_record(*, prepares: bool) -> BaseDatabaseWrapper:
        opened.append(prepares)
        return open_own_connection(prepares=prepares)

    def refuse_prepared(self: Target, *arguments: Any) -> list[Any]:
        if opened[-1]:
            raise ProgrammingError("prepared statement") from error()
        return insert(self, *arguments)

    monkeypatch.setattr(RequestTable, "prepares", True)
    monkeypatch.setattr(request_table, "open_own_connection", open_and_record)
    monkeypatch.setattr(Target, "insert", refuse_prepared)
    table, rows = RequestTable(), [make_row(hook) for _ in range(3)]
    assert not table.can_insert(rows[0])
    assert table.can_insert(rows[0])
    table.close()
    monkeypatch.setattr(RequestTable, "prepares", True)
    for row in rows:
        own_writer.store(row)
    assert opened == [True, False, True, False]
    assert stored_ids() == {row.uid for row in rows}
    assert not own_writer.in_outage


def store_event(hook: Subscription) -> None:
    store_request(hook, body_of({"id": "1", "type": "made"}))
    normalize.normalize_pending()


def enter_secret(hook: Subscription) -> None:
    secret_rotation.enter_secret(hook, "another", by="test")


def change_state(hook: Subscription) -> None:
    state_changes.write(Subscription.objects.filter(pk=hook.pk), by="test", state=State.FAILING)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one lock for all writers")
@pytest.mark.parametrize("change", [store_event, enter_secret, change_state])
def test_changing_a_subscription_does_not_block_its_requests(
    hook: Subscription, own_writer: Writer, spool_folder: Path, change: Callable[[Subscription], object]
) -> None:
    locks: list[str] = []

    def store_when_locked(execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
        result = execute(sql, *arguments)
        if "UPDATE" in sql and "subscriptions_subscription" in sql:
            own_writer.store(make_row(hook))
            locks.append(sql)
        return result

    with connection.execute_wrapper(store_when_locked):
        change(hook)
    assert any("FOR NO KEY UPDATE" in sql for sql in locks)
    assert any(sql.startswith("UPDATE") for sql in locks)
    assert WebhookRequest.objects.filter(body=b"{}").count() == len(locks)  # a blocked row would be in the spool


def test_commits_are_durable(hook: Subscription) -> None:
    new_connection = own_connection.open_own_connection()
    try:
        with new_connection.cursor() as cursor:
            if new_connection.vendor == "sqlite":
                cursor.execute("PRAGMA synchronous")
                assert cursor.fetchone() == (2,)  # FULL
                cursor.execute("PRAGMA journal_mode")
                assert cursor.fetchone() == ("wal",)
            else:
                cursor.execute("SHOW synchronous_commit")
                assert cursor.fetchone() == ("on",)
        assert request_row.REQUESTS.max_rows(new_connection) >= group_commit.BATCH_ROWS
    finally:
        new_connection.close()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="a setting of PostgreSQL")
@pytest.mark.parametrize(("server_setting", "setting"), [("off", "on"), ("local", "local")])
def test_synchronous_commit_is_turned_on_unless_it_is_local(
    hook: Subscription, server_setting: str, setting: str
) -> None:
    name = connection.ops.quote_name(connection.settings_dict["NAME"])
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {name} SET synchronous_commit = {server_setting}")
    try:
        new_connection = own_connection.open_own_connection()
        with new_connection.cursor() as cursor:
            cursor.execute("SHOW synchronous_commit")
            assert cursor.fetchone() == (setting,)
        new_connection.close()
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER DATABASE {name} RESET synchronous_commit")
