"""Files.com's server, as far as webhooks go: the behaviors API, the API key, test calls, messages in every form.

Where the real behaviour is unknown, an option chooses between the possible ones; its default is what we assume.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar, Literal
from urllib.parse import parse_qs, unquote

from pydantic import Field

from providers.files_com.messages import build_webhook_call
from providers.files_com.sample_events import FILE_ACTIONS, Place, World
from providers.files_com.simulated_behavior import (
    VALUE_KEYS,
    Behavior,
    RefusalError,
    bad,
    configure,
    covers,
    decoded,
    envelope,
    read_value,
    texts,
)
from providers.sandbox.base import MAX_REMEMBERED, Simulator
from providers.sandbox.calls import Call, InvalidControlInput, NoResponse, Response
from providers.sandbox.tenant import Batch, CallBudget, Event, LoginName, Options, SandboxLogin, Tenant, iso
from providers.sandbox.webhook_sender import SendResult, WebhookCall

PREFIX = "/api/rest/v1"
MAX_PER_PAGE = 10_000
KEYS: Mapping[str, LoginName] = {
    "sandbox-files-com-spare-key": LoginName.SPARE,
    "sandbox-files-com-demo-key": LoginName.DEMO,
}
SITES: Mapping[LoginName, str] = {LoginName.SPARE: "acme", LoginName.DEMO: "globex"}
ON_REQUEST = tuple(
    f"{group}_{what}" for group in ("user", "group", "permission") for what in ("create", "update", "destroy")
)
# Our words for the keys of `value`, for the sandbox's control calls
OUR_WORDS: Mapping[str, str] = {"filenames": "triggering_filenames"}
# The forms of messages beside the plain GET, and the folder of the demo that tells of its files in each
DEMO_FORMS: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "As a form": ("inbox", {"method": "POST"}),
    "As JSON": ("clients", {"method": "POST", "encoding": "JSON"}),
    "As XML": ("contracts", {"method": "POST", "encoding": "XML"}),
    "As ExaVault's first version": ("reports", {"method": "POST", "encoding": "EV1"}),
    "As ExaVault's second version": ("timecards", {"method": "POST", "encoding": "EV2"}),
    "With the file in a form": ("invoices", {"method": "POST", "file_form_field": "file"}),
    "The file itself": ("video", {"method": "POST", "file_as_body": True}),
}
SETTABLE = ("name", "description", "recursive", "value", "disable_parent_folder_behavior")
TITLES = {400: "bad-request", 401: "not-authenticated/invalid-credentials", 404: "not-found"}


class FilesComOptions(Options):
    """What can be asked of this simulator. Nothing expires and nothing is switched off here, so `lease_seconds` and
    `failures_until_disabled` change nothing."""

    value_as: Literal["object", "text", "urls"] = "object"  # how answers show `value`; `urls`: the old plain list
    page_size: int = Field(default=MAX_PER_PAGE, ge=1, le=MAX_PER_PAGE)
    calls_per_second: float | None = Field(default=None, gt=0)
    retry_after: bool = True  # whether throttled calls tell when to come again
    site_admin: bool = True  # the key's user; others may only list single folders
    permission_set: str = "full"  # of the key; with another one it may look, and change nothing
    key_enabled: bool = True
    test_calls: tuple[Literal["behaviors", "webhook_tests"], ...] = ("behaviors", "webhook_tests")  # that exist
    update_merges_value: bool = False  # a PATCH changes the given keys of `value`, instead of all of it
    require_redundant_url: bool = False
    attempt_all_urls: bool = False  # also when an earlier one succeeded
    raw_plus: bool = False  # the + of a time in a query is not encoded
    file_metadata: Literal["none", "query", "headers"] = "none"  # what comes beside a file as the body


@dataclass(frozen=True, slots=True)
class TestOrder(Response):
    """The answer to a test call: it is made once the webhook was sent, without holding the lock."""

    __test__ = False  # not a pytest class

    webhook: WebhookCall | None = field(default=None)


FilesComTenant = Tenant[Behavior, FilesComOptions]


class FilesComSimulator(Simulator[Behavior, FilesComOptions]):
    """Two sites with an API each; the API key tells them apart."""

    slug = "files-com"
    paths: ClassVar[tuple[str, ...]] = tuple(
        f"{PREFIX}/{name}" for name in ("behaviors", "api_key", "webhook_tests", "site/test-webhook")
    )
    event_types: ClassVar[tuple[str, ...]] = (*FILE_ACTIONS, *ON_REQUEST)
    demo_config: ClassVar[dict[str, object]] = {"path": "/"}
    options_model = FilesComOptions

    def demo_configs(self) -> dict[str, dict[str, object]]:
        """Everything by GET, and what happens to the files of some folders in each other form."""
        forms = {
            title: {"path": folder, "triggers": list(FILE_ACTIONS), **form}
            for title, (folder, form) in DEMO_FORMS.items()
        }
        return {"Everything": self.demo_config, **forms}

    def logins(self, base_url: str) -> tuple[SandboxLogin, SandboxLogin]:
        """One site each, with a key that never changes."""
        spare, demo = (
            SandboxLogin(
                login=login,
                settings={"subdomain": SITES[login], "base_url": base_url, "calls_per_second": 50},
                credentials={"api_key": key},
            )
            for key, login in KEYS.items()
        )
        return spare, demo

    @cached_property
    def _budgets(self) -> dict[LoginName, CallBudget]:
        return {login: CallBudget() for login in SITES}

    @cached_property
    def _worlds(self) -> dict[LoginName, World]:
        return {login: World(site, self.random) for login, site in SITES.items()}

    @cached_property
    def _mails(self) -> deque[dict[str, object]]:
        return deque(maxlen=MAX_REMEMBERED)

    @cached_property
    def _tries(self) -> dict[tuple[str, str], int]:
        return {}

    @cached_property
    def _last_id(self) -> list[int]:
        # An id must not come again after a restart: installations remember whose it was.
        return [int(time.time()) % 1_000_000_000]

    def login_of(self, call: Call) -> LoginName | None:
        """By the API key."""
        return KEYS.get(call.headers.get("x-filesapi-key", ""))

    def error_response(self, status: int) -> Response:
        """Their error envelope."""
        kind = "rate-limited/too-many-requests" if status == 429 else TITLES.get(status, f"sandbox/{status}")
        return Response(status, envelope(status, kind, f"The call failed with {status}."))

    def serve(self, tenant: FilesComTenant, call: Call) -> Response:
        """Throttles when asked to."""
        limit = tenant.options.calls_per_second
        if self._budgets[tenant.login].take(per_second=limit, per_day=None) is None:
            return self.handle(tenant, call)
        wait = {"Retry-After": str(math.ceil(1 / (limit or 1)))} if tenant.options.retry_after else {}
        return Response(429, self.error_response(429).body, wait)

    def age_own_state(self, tenant: FilesComTenant, seconds: float) -> None:
        """The limit recovers."""
        self._budgets[tenant.login].age(seconds)

    # -- The API -------------------------------------------------------------------------------------------------

    def respond(self, call: Call) -> Response | NoResponse:
        """As every simulator; a test webhook is sent here, where the lock is not held."""
        outcome = super().respond(call)
        if not isinstance(outcome, TestOrder) or outcome.webhook is None:
            return outcome
        receipt = self.sender.send(outcome.webhook, timeout=self.answer_within)
        return Response(
            outcome.status, _test_entity(receipt, self.is_received(receipt.status or 0), outcome.status == 201)
        )

    def handle(self, tenant: FilesComTenant, call: Call) -> Response:
        """Behaviors and everything around them."""
        options = tenant.options
        try:
            if not options.key_enabled:
                raise RefusalError(403, "not-authorized/api-key-is-disabled", "The API key is disabled")
            routes = self._routes(tenant, call)
            if call.method not in routes:
                raise RefusalError(405, "bad-request/method-not-allowed", "Method not allowed")
            if call.method != "GET" and options.permission_set != "full":
                raise RefusalError(403, "not-authorized/folder-admin-permission-required", "Permission denied")
            return routes[call.method]()
        except RefusalError as refusal:
            return Response(refusal.status, refusal.body)

    def _routes(self, tenant: FilesComTenant, call: Call) -> dict[str, Callable[[], Response]]:
        path = call.path.removeprefix(PREFIX).removesuffix(".json").strip("/")
        tests = tenant.options.test_calls
        match [unquote(part) for part in path.split("/")]:
            case ["api_key"]:
                return {"GET": lambda: self._api_key(tenant)}
            case ["behaviors"]:
                return {"GET": lambda: self._list(tenant, call, None), "POST": lambda: self._create(tenant, call)}
            case ["behaviors", "folders", *parts]:
                return {"GET": lambda: self._list(tenant, call, "/".join(parts))}
            case ["behaviors", "webhook", "test"] | ["site", "test-webhook"] if "behaviors" in tests:
                return {"POST": lambda: self._test(tenant, call, 200)}
            case ["webhook_tests"] if "webhook_tests" in tests:
                return {"POST": lambda: self._test(tenant, call, 201)}
            case ["behaviors", remote_id]:
                hook = _find(tenant, remote_id)
                return {
                    "GET": lambda: Response(200, self._shown(tenant, hook)),
                    "PATCH": lambda: self._update(tenant, hook, call),
                    "DELETE": lambda: self._delete(tenant, hook),
                }
        raise RefusalError(404, "not-found", "Not found")

    def _api_key(self, tenant: FilesComTenant) -> Response:
        site = SITES[tenant.login]
        return Response(
            200,
            {
                "id": 1,
                "descriptive_label": f"Site-wide API key for https://{site}.files.com/ (key ID #1)",
                "created_at": "2024-01-02T03:04:05Z",
                "expires_at": None,
                "key": tenant.account.credentials["api_key"],
                "name": "Hookkeeper",
                "permission_set": tenant.options.permission_set,
                "user_id": None if tenant.options.site_admin else 7,
            },
        )

    def _list(self, tenant: FilesComTenant, call: Call, folder: str | None) -> Response:
        if folder is None and not tenant.options.site_admin:
            raise RefusalError(403, "not-authorized/non-admins-must-query-by-folder-or-path", "Name a folder or path")
        query = parse_qs(call.query)
        hooks = [hook for hook in tenant.hooks.values() if folder is None or folder.lower() == hook.path.lower()]
        items = [self._shown(tenant, hook) for hook in hooks]
        if query.get("filter[behavior]") != ["webhook"]:
            items.insert(0, _another_behavior(folder or ""))
        start = _number(query.get("cursor", ["0"])[0], "bad-request/invalid-cursor")
        size = min(_number(query.get("per_page", ["1000"])[0], "bad-request"), tenant.options.page_size)
        more = {"X-Files-Cursor-Next": str(start + size)} if start + size < len(items) else {}
        return Response(200, items[start : start + size], more)

    def _create(self, tenant: FilesComTenant, call: Call) -> Response:
        body = _object(call.body)
        if body.get("behavior") != "webhook":
            raise bad("behavior", "must be webhook in this sandbox")
        if not isinstance(body.get("path"), str):
            raise RefusalError(422, "bad-request/request-params-required", "path is missing", about="path")
        value = self._checked(tenant, body.get("value"))
        self._last_id[0] += 1
        hook = Behavior(
            remote_id=str(self._last_id[0]),
            url=texts(value["urls"])[0],
            path=str(body["path"]).strip("/"),
            value=value,
        )
        configure(hook, body, value)
        tenant.hooks[hook.remote_id] = hook
        return Response(201, self._shown(tenant, hook))

    def _update(self, tenant: FilesComTenant, hook: Behavior, call: Call) -> Response:
        body = _object(call.body)
        if "path" in body or "behavior" in body:
            raise RefusalError(422, "bad-request/request-params-invalid", "path and behavior cannot be changed")
        value = hook.value
        if "value" in body:
            given = decoded(body["value"])
            merged = {**hook.value, **given} if tenant.options.update_merges_value else given
            value = self._checked(tenant, merged)
        configure(hook, body, value)
        return Response(200, self._shown(tenant, hook))

    def _delete(self, tenant: FilesComTenant, hook: Behavior) -> Response:
        del tenant.hooks[hook.remote_id]
        return Response(204)

    def _test(self, tenant: FilesComTenant, call: Call, status: int) -> Response:
        body = _object(call.body)
        given = {key: body[key] for key in VALUE_KEYS if key in body}
        value = read_value({**given, "urls": [body.get("url")]}, self.event_types, at_least=1)
        hook = Behavior(remote_id="0", url=str(body["url"]), path="", value=value)
        event = self._worlds[tenant.login].event(str(body.get("action") or "create"), Place("", True, None))
        return TestOrder(status, webhook=self._message(tenant, hook, event))

    def _checked(self, tenant: FilesComTenant, value: object) -> dict[str, object]:
        return read_value(value, self.event_types, at_least=2 if tenant.options.require_redundant_url else 1)

    def _shown(self, tenant: FilesComTenant, hook: Behavior) -> dict[str, object]:
        described = hook.describe()
        if tenant.options.value_as == "text":
            described["value"] = json.dumps(described["value"])
        if tenant.options.value_as == "urls":
            described["value"] = hook.value["urls"]
        return described

    # -- What the base asks --------------------------------------------------------------------------------------

    def details(self, tenant: FilesComTenant, hook: Behavior) -> dict[str, object]:
        """The behavior in their words."""
        return hook.describe()

    def state(self, tenants: Collection[FilesComTenant]) -> dict[str, object]:
        """As every simulator, and the e-mails about messages that could not be delivered."""
        logins = {tenant.login for tenant in tenants}
        with self.lock:
            return {**super().state(tenants), "emails": [mail for mail in self._mails if mail["login"] in logins]}

    def change(
        self, tenant: FilesComTenant, hook: Behavior, *, status: str | None, config: Mapping[str, object] | None
    ) -> None:
        """Merges the given fields, of the behavior or of its `value`. There is no status to change."""
        if status is not None:
            raise InvalidControlInput("status: Files.com cannot switch a behavior off; delete it instead")
        fields, changes = _their_words(config or {}, hook)
        try:
            value = self._checked(tenant, {**hook.value, **changes})
        except RefusalError as refusal:
            raise InvalidControlInput(f"config.{refusal.about or 'value'}: {refusal}") from None
        configure(hook, fields, value)

    def matches_type(self, hook: Behavior, event_type: str) -> bool:
        """Without triggers, everything."""
        triggers = texts(hook.value.get("triggers"))
        return not triggers or event_type in triggers

    def matches(self, hook: Behavior, event: Event) -> bool:
        """By type; and where the event has a place, by folder and file name. Case does not matter."""
        if not self.matches_type(hook, event.type):
            return False
        return not event.paths or any(covers(hook, path.lower()) for path in event.paths)

    def make_event(self, tenant: FilesComTenant, event_type: str, hook: Behavior) -> Event:
        """Something that happens in the webhook's folder."""
        pattern = next(iter(texts(hook.value.get("triggering_filenames"))), None)
        return self._worlds[tenant.login].event(event_type, Place(hook.path, hook.recursive, pattern))

    def is_received(self, status: int) -> bool:
        """Their log takes 204 as received, too."""
        return status in (200, 204)

    def build_webhook_call(
        self, tenant: FilesComTenant, hook: Behavior, events: Sequence[Event], *, bad_signature: bool
    ) -> WebhookCall:
        """The message for the first URL. A wrong signature is a wrong Authorization header."""
        call = self._message(tenant, hook, events[0])
        if not bad_signature:
            return call
        headers = {name: value for name, value in call.headers.items() if name.lower() != "authorization"}
        return replace(call, headers={**headers, "Authorization": "Bearer wrong"})

    def _message(self, tenant: FilesComTenant, hook: Behavior, event: Event) -> WebhookCall:
        return build_webhook_call(
            hook.url,
            hook.value,
            event.body,
            site=SITES[tenant.login],
            attempt=self._attempt(hook, event),
            content=self._worlds[tenant.login].content(event.body),
            raw_plus=tenant.options.raw_plus,
            file_metadata=tenant.options.file_metadata,
        )

    def _attempt(self, hook: Behavior, event: Event) -> int:
        key = (hook.remote_id, event.id)
        number = self._tries.pop(key, 0) + 1
        self._tries[key] = number
        while len(self._tries) > MAX_REMEMBERED:
            del self._tries[next(iter(self._tries))]
        return number

    def send(self, tenant: FilesComTenant, hook: Behavior, call: WebhookCall) -> SendResult:
        """To the first URL, then to the redundant ones until one succeeds."""
        urls = texts(hook.value.get("urls"))
        rest = call.url.removeprefix(hook.url)
        receipts: list[SendResult] = []
        for url in (hook.url, *urls[1:]):
            receipts.append(self.sender.send(replace(call, url=url + rest), timeout=self.answer_within))
            if self.is_received(receipts[-1].status or 0) and not tenant.options.attempt_all_urls:
                break
        good = (receipt for receipt in receipts if self.is_received(receipt.status or 0))
        return next(good, receipts[0])

    def handle_failed_delivery(self, tenant: FilesComTenant, hook: Behavior, batch: Batch) -> None:
        """Nothing is switched off; somebody gets an e-mail."""
        hook.failures += 1
        self._mails.append(
            {
                "login": tenant.login.value,
                "remote_id": hook.remote_id,
                "subject": f"Webhook failure on {hook.path or '/'}",
                "at": iso(time.time()),
            }
        )


simulator = FilesComSimulator


def _object(body: bytes) -> dict[str, object]:
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise RefusalError(422, "bad-request/invalid-body", "The body is no JSON object")
    return value


def _number(text: str, kind: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise RefusalError(422, kind, f"{text} is no number")
    return int(text)


def _find(tenant: FilesComTenant, remote_id: str) -> Behavior:
    if remote_id not in tenant.hooks:
        raise RefusalError(404, "not-found", "Not Found. This may be related to your permissions.")
    return tenant.hooks[remote_id]


def _another_behavior(folder: str) -> dict[str, object]:
    """Sites have behaviors of other kinds as well."""
    return {"id": 3, "path": folder, "behavior": "file_expiration", "value": 30, "recursive": True}


def _test_entity(receipt: SendResult, ok: bool, newer: bool) -> dict[str, object]:
    entity: dict[str, object] = {
        "code": receipt.status or 0,
        "message": "" if ok else receipt.failure or "The receiver did not answer 200.",
        "status": "success" if ok else "failure",
        "data": {},
    }
    return {**entity, "success": ok} if newer else {**entity, "errors": []}


def _their_words(config: Mapping[str, object], hook: Behavior) -> tuple[dict[str, object], dict[str, object]]:
    """Return the changed fields of the behavior and of its value, by Files.com's names. Raises InvalidControlInput."""
    fields: dict[str, object] = {}
    changes: dict[str, object] = {}
    for key, value in config.items():
        name = OUR_WORDS.get(key, key)
        if name == "callback_url":
            changes["urls"] = [value, *texts(hook.value["urls"])[1:]]
        elif name == "redundant_urls" and isinstance(value, list):
            changes["urls"] = [hook.url, *value]
        elif name in VALUE_KEYS:
            changes[name] = value
        elif name in SETTABLE and name != "value":
            fields[name] = value
        elif name == "value" and isinstance(value, dict):
            changes |= value
        else:
            raise InvalidControlInput(f"config.{key}: there is no such field, or it cannot change")
    return fields, changes
