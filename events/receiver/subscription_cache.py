"""The subscriptions as the receiver knows them: in memory, so that a call costs no query and the database may be away.

One thread of the process reads them again every second, and at once when a token or a proof does not fit: nothing is
refused before that. Secrets are decrypted when they change, and held nowhere else.
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

EVERY = 1.0  # seconds between two reads, and
SHARE = 20  # times as long as a read takes
GAP = 0.05  # seconds at least between the beginnings of two reads, however many ask
PATIENCE = 1.0  # seconds that a call waits for a read
MOST_WAITING = 8  # calls that may wait for one, of the few threads there are
ABSENT = 1000  # tokens that are remembered as unknown
ABSENT_FOR = 1.0  # seconds


class NotKnown(Exception):
    """It cannot be told at the moment."""


class Gone(Exception):
    """It does not exist any more."""


@dataclass(frozen=True, slots=True)
class ReceivableSubscription:
    """What receiving for a subscription takes."""

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
    sensitive: frozenset[str]
    rotating: bool  # the newest secret has not been seen yet


Row = tuple[Any, ...]


class KnownSubscriptions:
    """All that receive, by their token. The thread starts with the first call: it does not survive a fork."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begins anew, as a forked process must."""
        self._condition = threading.Condition()
        self._rows: dict[str, Row] = {}
        self._known: dict[str, ReceivableSubscription | None] = {}  # None: it is there, but cannot be used
        self._absent: dict[str, float] = {}
        self._read_at = self._failed_at = -1.0
        self._asked = self._stopped = False
        self._waiting = 0
        self._thread: threading.Thread | None = None

    def find(self, token: str) -> ReceivableSubscription | None:
        """The subscription, also when it is disabled or being deleted; None when it is known not to exist. Raises
        NotKnown when that cannot be told, or when it cannot be used."""
        if not settings.RECEIVE_IN_THREADS:
            self.read()
        elif token not in self._known and not self._known_absent(token):
            if not self.read_again():
                raise NotKnown
            if token not in self._known:
                self._remember_absent(token)
        try:
            known = self._known[token]
        except KeyError:
            return None
        if known is None:
            raise NotKnown
        return known

    def newer(self, known: ReceivableSubscription) -> ReceivableSubscription | None:
        """Looks whether it changed since it was read; None when it did not, or that cannot be told now. Raises Gone."""
        if not settings.RECEIVE_IN_THREADS or not self.read_again():
            return None
        if known.token not in self._known:
            raise Gone
        now = self._known[known.token]
        return None if now is known else now

    def read_again(self) -> bool:
        """Waits until everything was read from the database after this call began. False when that did not happen."""
        self.start()
        with self._condition:
            asked = time.monotonic()
            if self._waiting >= MOST_WAITING:
                return False
            self._waiting += 1
            self._asked = True
            self._condition.notify_all()
            self._condition.wait_for(lambda: max(self._read_at, self._failed_at) >= asked, PATIENCE)
            self._waiting -= 1
            return self._read_at >= asked

    def start(self) -> None:
        """Starts the thread, unless it runs: as early as possible, so that all are known when the database goes."""
        if self._thread is not None:
            return
        with self._condition:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="known", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        with self._condition:
            self._stopped = True
            self._condition.notify_all()
        if self._thread is not None:
            self._thread.join()

    def read(self) -> None:
        """Reads all from the database, and works out those that changed."""
        rows = {row[0]: row for row in _rows()}
        if rows == self._rows:
            return
        self._known = {
            token: self._known[token] if self._rows.get(token) == row else _work_out(row) for token, row in rows.items()
        }
        self._rows = rows
        self._absent = {}

    def _known_absent(self, token: str) -> bool:
        return time.monotonic() - self._absent.get(token, -ABSENT_FOR) < ABSENT_FOR

    def _remember_absent(self, token: str) -> None:
        if len(self._absent) >= ABSENT:
            self._absent = {}
        self._absent[token] = time.monotonic()

    def _run(self) -> None:
        while not self._stopped:
            with self._condition:
                self._asked = False  # whoever asks from here on needs the next read
                begun = time.monotonic()
            done = self._try_to_read()
            took = time.monotonic() - begun
            with self._condition:
                if done:
                    self._read_at = begun
                else:
                    self._failed_at = begun
                self._condition.notify_all()
                self._condition.wait_for(self._is_asked, max(EVERY, SHARE * took))
            # Whoever asks meanwhile is served by the same read.
            time.sleep(max(0.0, begun + GAP - time.monotonic()))
        connection.close()

    def _is_asked(self) -> bool:
        return self._asked or self._stopped

    def _try_to_read(self) -> bool:
        try:
            close_old_connections()
            self.read()
        except (DatabaseError, InterfaceError) as error:
            logger.warning("The subscriptions could not be read again: %s", str(error).partition("\n")[0])
            connection.close()
            return False
        except Exception:
            logger.exception("The subscriptions could not be read again")
            return False
        return True


def _rows() -> Any:
    """Every subscription that receives, with secrets, settings and addresses as they are stored."""
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


def _work_out(row: Row) -> ReceivableSubscription | None:
    token, pk, uid, account_id, provider, account_settings, secrets, callback_url, former_urls, allowed, *turning = row
    rotation_asked_at, secret_no, secret_seen_no = turning
    try:
        plugin = get_provider(provider)
        checked = validate(plugin.settings_model, json.loads(account_settings))
        return ReceivableSubscription(
            id=pk,
            uid=uid,
            token=token,
            account_id=account_id,
            plugin=plugin,
            settings=checked,
            secrets=tuple(json.loads(decrypt(secrets))),
            callback_url=callback_url,
            former_urls=tuple(json.loads(former_urls)),
            allowed_networks=ip_allowlist.stored(json.loads(allowed)),
            sensitive=plugin.sensitive_headers(checked),
            rotating=rotation_asked_at is not None and secret_seen_no != secret_no,
        )
    except (UnknownProvider, InvalidInput, Undecryptable) as error:
        logger.error("Nothing can be received for subscription %s: %s", uid, error)
        return None


known_subscriptions = KnownSubscriptions()
os.register_at_fork(after_in_child=known_subscriptions.reset)
