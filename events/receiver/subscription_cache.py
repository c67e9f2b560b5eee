"""A cache of the subscriptions in memory, so that a request costs no query and needs no database.

One thread of the process refreshes it every second, and at once when a token is unknown or a signature does not match:
no request is refused because of stale data. Secrets are decrypted when they change, and held nowhere else.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections, connection
from django.db.models import TextField
from django.db.models.functions import Cast
from pydantic import BaseModel

from providers.contract.base import AnyProvider
from providers.contract.errors import InvalidInput
from providers.contract.registry import UnknownProvider, get_provider
from providers.contract.schemas import validate
from providers.db.encryption import Undecryptable, decrypt
from subscriptions.lifecycle import ip_allowlist
from subscriptions.lifecycle.ip_allowlist import Network
from subscriptions.models import Subscription

logger = logging.getLogger(__name__)

# The pause between two refreshes: a multiple of the last refresh's duration, and at least a minimum.
REFRESH_SECONDS = 1.0
REFRESH_PAUSE_FACTOR = 20
MIN_INTERVAL_SECONDS = 0.05  # between the starts of two refreshes, however many threads request one
WAIT_SECONDS = 1.0  # how long a thread waits for a refresh
MAX_WAITING_THREADS = 8  # how many threads may wait for a refresh; the web process has few threads
MAX_UNKNOWN_TOKENS = 1000  # how many unknown tokens are remembered
UNKNOWN_TOKEN_SECONDS = 1.0  # how long an unknown token is remembered


class LookupUnavailable(Exception):
    """Whether the subscription exists, or how to verify its requests, cannot be determined now."""


class SubscriptionDeleted(Exception):
    """The subscription has been deleted."""


@dataclass(frozen=True, slots=True)
class ReceivableSubscription:
    """What is needed to receive requests for a subscription."""

    id: int
    uid: UUID
    token: str = field(repr=False)
    account_id: int
    plugin: AnyProvider
    settings: BaseModel
    secrets: tuple[str, ...] = field(repr=False)
    callback_url: str = field(repr=False)
    former_urls: tuple[str, ...] = field(repr=False)
    allowed_networks: tuple[Network, ...]
    sensitive_headers: frozenset[str]
    is_rotating: bool  # the provider has not used the newest secret yet


Row = tuple[Any, ...]


class SubscriptionCache:
    """All subscriptions that can receive, by token.

    The thread starts with the first request, because threads do not survive a fork.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start empty and without a thread, as a forked process must."""
        self._condition = threading.Condition()
        self._rows: dict[str, Row] = {}
        self._subscriptions: dict[str, ReceivableSubscription | None] = {}  # None: it exists, but cannot be used
        self._unknown_tokens: dict[str, float] = {}  # when each was looked up
        self._refreshed_at = self._failed_at = -1.0
        self._refresh_requested = self._stopped = False
        self._waiting_threads = 0
        self._thread: threading.Thread | None = None

    def find(self, token: str) -> ReceivableSubscription | None:
        """Return the subscription, also if it is disabled or being deleted; None if there is none.

        Raises LookupUnavailable if that cannot be determined, or the subscription cannot be used.
        """
        if not settings.RECEIVE_IN_THREADS:
            self.read()
        elif token not in self._subscriptions and not self._is_cached_as_unknown(token):
            if not self.refresh():
                raise LookupUnavailable
            if token not in self._subscriptions:
                self._remember_unknown(token)
        try:
            subscription = self._subscriptions[token]
        except KeyError:
            return None
        if subscription is None:
            raise LookupUnavailable
        return subscription

    def find_newer(self, subscription: ReceivableSubscription) -> ReceivableSubscription | None:
        """Refresh, and return the subscription if it has changed; None if not, or if that cannot be determined.

        Raises SubscriptionDeleted.
        """
        if not settings.RECEIVE_IN_THREADS or not self.refresh():
            return None
        if subscription.token not in self._subscriptions:
            raise SubscriptionDeleted
        current = self._subscriptions[subscription.token]
        return None if current is subscription else current

    def refresh(self) -> bool:
        """Wait for a refresh that starts after this call. Return whether it succeeded in time."""
        self.start()
        with self._condition:
            requested_at = time.monotonic()
            if self._waiting_threads >= MAX_WAITING_THREADS:
                return False
            self._waiting_threads += 1
            self._refresh_requested = True
            self._condition.notify_all()
            self._condition.wait_for(lambda: max(self._refreshed_at, self._failed_at) >= requested_at, WAIT_SECONDS)
            self._waiting_threads -= 1
            return self._refreshed_at >= requested_at

    def start(self) -> None:
        """Start the thread unless it runs: as early as possible, so that the cache is filled before an outage."""
        if self._thread is not None:
            return
        with self._condition:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="subscription cache", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        with self._condition:
            self._stopped = True
            self._condition.notify_all()
        if self._thread is not None:
            self._thread.join()

    def read(self) -> None:
        """Read all subscriptions from the database, and replace those that have changed."""
        rows = {row[0]: row for row in _query_rows()}
        if rows == self._rows:
            return
        self._subscriptions = {
            token: self._subscriptions[token] if self._rows.get(token) == row else _build_subscription(row)
            for token, row in rows.items()
        }
        self._rows = rows
        self._unknown_tokens = {}

    def _is_cached_as_unknown(self, token: str) -> bool:
        return time.monotonic() - self._unknown_tokens.get(token, -UNKNOWN_TOKEN_SECONDS) < UNKNOWN_TOKEN_SECONDS

    def _remember_unknown(self, token: str) -> None:
        if len(self._unknown_tokens) >= MAX_UNKNOWN_TOKENS:
            self._unknown_tokens = {}
        self._unknown_tokens[token] = time.monotonic()

    def _run(self) -> None:
        while not self._stopped:
            with self._condition:
                self._refresh_requested = False  # a request from here on needs the next refresh
                started_at = time.monotonic()
            succeeded = self._try_to_read()
            duration = time.monotonic() - started_at
            with self._condition:
                if succeeded:
                    self._refreshed_at = started_at
                else:
                    self._failed_at = started_at
                self._condition.notify_all()
                self._condition.wait_for(self._has_work, max(REFRESH_SECONDS, REFRESH_PAUSE_FACTOR * duration))
            # All threads that request one during this pause share the next refresh.
            time.sleep(max(0.0, started_at + MIN_INTERVAL_SECONDS - time.monotonic()))
        connection.close()

    def _has_work(self) -> bool:
        return self._refresh_requested or self._stopped

    def _try_to_read(self) -> bool:
        try:
            close_old_connections()
            self.read()
        except (DatabaseError, InterfaceError) as error:
            logger.warning("The subscriptions could not be refreshed: %s", str(error).partition("\n")[0])
            connection.close()
            return False
        except Exception:
            # The thread must survive a bug: the receiver continues with the subscriptions of the last refresh.
            logger.exception("The subscriptions could not be refreshed")
            return False
        return True


def _query_rows() -> Any:
    """Return every subscription that receives, with secrets, settings and lists as they are stored."""
    text = TextField()
    return (
        Subscription.objects.filter(deleted_at=None)
        .order_by()
        .values_list(
            *("token", "pk", "uid", "account_id", "account__provider", Cast("account__settings", text)),
            *(
                Cast("secrets", text),
                "callback_url",
                Cast("former_callback_urls", text),
                Cast("allowed_networks", text),
            ),
            *("rotation_asked_at", "secret_no", "secret_seen_no"),
        )
    )


def _build_subscription(row: Row) -> ReceivableSubscription | None:
    """Decode a row. Return None if the subscription cannot be used, which is logged."""
    token, pk, uid, account_id, provider, account_settings, secrets, callback_url, former_urls, allowed, *rotation = row
    rotation_asked_at, secret_no, secret_seen_no = rotation
    try:
        plugin = get_provider(provider)
        checked_settings = validate(plugin.settings_model, json.loads(account_settings))
        return ReceivableSubscription(
            id=pk,
            uid=uid,
            token=token,
            account_id=account_id,
            plugin=plugin,
            settings=checked_settings,
            secrets=tuple(json.loads(decrypt(secrets))),
            callback_url=callback_url,
            former_urls=tuple(json.loads(former_urls)),
            allowed_networks=ip_allowlist.load_networks(json.loads(allowed)),
            sensitive_headers=plugin.sensitive_headers(checked_settings),
            is_rotating=rotation_asked_at is not None and secret_seen_no != secret_no,
        )
    except (UnknownProvider, InvalidInput, Undecryptable) as error:
        logger.error("Subscription %s cannot receive requests: %s", uid, error)
        return None


receivable_subscriptions = SubscriptionCache()
os.register_at_fork(after_in_child=receivable_subscriptions.reset)
