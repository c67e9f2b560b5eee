"""Simulate Files.com's webhook API: behaviors, the API key, test calls, and messages in every format.

Where the real behavior is unconfirmed, an option selects it; the default is the behavior that the plug-in assumes.
"""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar, Literal
from urllib.parse import parse_qs, unquote

from pydantic import Field

from providers.files_com.sample_events import FILE_ACTIONS, SampleSite, Scope
from providers.files_com.simulated_behavior import (
    Behavior,
    api_changes,
    configure,
    covers,
    expiration_behavior,
    test_call_result,
)
from providers.files_com.simulated_messages import build_webhook_call
from providers.files_com.simulated_requests import (
    VALUE_KEYS,
    ApiError,
    decode_value,
    error_body,
    invalid,
    parse_number,
    parse_object,
    parse_value,
    texts,
)
from providers.sandbox.base import Simulator
from providers.sandbox.call_budget import CallBudget
from providers.sandbox.calls import Call, InvalidControlInput, NoResponse, Response
from providers.sandbox.simulated_api import MAX_REMEMBERED
from providers.sandbox.tenant import Batch, Event, LoginName, Options, SandboxLogin, Tenant, iso
from providers.sandbox.webhook_sender import SendResult, WebhookCall

PREFIX = "/api/rest/v1"
MAX_PER_PAGE = 10_000
KEYS: Mapping[str, LoginName] = {
    "5andb0xspare0f1e2d3c4b5a69788796a5b4c3d2e1f0": LoginName.SPARE,
    "5andb0xdemo00f1e2d3c4b5a69788796a5b4c3d2e1f0": LoginName.DEMO,
}
SITES: Mapping[LoginName, str] = {LoginName.SPARE: "acme", LoginName.DEMO: "globex"}
ON_REQUEST = tuple(
    f"{group}_{change}" for group in ("user", "group", "permission") for change in ("create", "update", "destroy")
)
# The demo's subscriptions for the formats other than GET: name, folder and config
DEMO_FORMATS: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "Form": ("inbox", {"method": "POST"}),
    "JSON": ("clients", {"method": "POST", "encoding": "JSON"}),
    "XML": ("contracts", {"method": "POST", "encoding": "XML"}),
    "ExaVault version 1": ("reports", {"method": "POST", "encoding": "EV1"}),
    "ExaVault version 2": ("timecards", {"method": "POST", "encoding": "EV2"}),
    "Form with the file": ("invoices", {"method": "POST", "file_form_field": "file"}),
    "File as the body": ("video", {"method": "POST", "file_as_body": True}),
}
TITLES = {400: "bad-request", 401: "not-authenticated/invalid-credentials", 404: "not-found"}


class FilesComOptions(Options):
    """The options of this simulator.

    Files.com's webhooks never expire and are never disabled, so `lease_seconds` and `failures_until_disabled` have no
    effect.
    """

    value_as: Literal["object", "text", "urls"] = "object"  # format of `value` in responses; `urls`: the older list
    expand_triggers: bool = False  # a webhook without triggers is shown with all actions of files
    page_size: int = Field(default=MAX_PER_PAGE, ge=1, le=MAX_PER_PAGE)
    calls_per_second: float | None = Field(default=None, gt=0)
    retry_after: bool = True  # throttling responses have a Retry-After header
    site_admin: bool = True  # whether the key's user is one; others can only list single folders
    permission_set: str = "full"  # of the key; any other one is read-only
    key_enabled: bool = True
    has_api_key_call: bool = True  # whether the call that describes the key exists
    test_calls: tuple[Literal["behaviors", "webhook_tests"], ...] = ("behaviors", "webhook_tests")  # that exist
    update_merges_value: bool = False  # a PATCH changes only the given keys of `value`
    require_redundant_url: bool = False
    attempt_all_urls: bool = False  # even if an earlier one succeeded
    raw_plus: bool = False  # the + of a time in a query is not encoded
    # Where the fields are sent if the body is the file; `disposition`: only its name, in Content-Disposition.
    file_metadata: Literal["none", "query", "headers", "disposition"] = "none"
    header_encoding: Literal["percent", "utf-8", "iso-8859-1"] = "percent"  # of the fields in headers


@dataclass(frozen=True, slots=True)
class PendingTest(Response):
    """The reply to a test call, which is completed after the webhook was sent, without holding the lock."""

    __test__ = False  # not a pytest class

    webhook: WebhookCall | None = field(default=None)


FilesComTenant = Tenant[Behavior, FilesComOptions]


class FilesComSimulator(Simulator[Behavior, FilesComOptions]):
    """Two sites behind one API; the API key identifies the site."""

    slug = "files-com"
    collection = f"{PREFIX}/behaviors"
    odd_id = 987654321
    paths: ClassVar[tuple[str, ...]] = tuple(
        f"{PREFIX}/{name}" for name in ("behaviors", "api_key", "webhook_tests", "site/test-webhook")
    )
    event_types: ClassVar[tuple[str, ...]] = (*FILE_ACTIONS, *ON_REQUEST)
    demo_config: ClassVar[dict[str, object]] = {"path": "/"}
    secret_keys: ClassVar[frozenset[str]] = frozenset({"Authorization", "verification_token"})
    options_model = FilesComOptions

    def demo_configs(self) -> dict[str, dict[str, object]]:
        """Return one config for all events by GET, and one per other format for the files of a folder."""
        formats = {
            title: {"path": folder, "triggers": list(FILE_ACTIONS), **config}
            for title, (folder, config) in DEMO_FORMATS.items()
        }
        return {"Everything": self.demo_config, **formats}

    def logins(self, base_url: str) -> tuple[SandboxLogin, SandboxLogin]:
        """Return one login per site, with a fixed key."""
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
    def _sample_sites(self) -> dict[LoginName, SampleSite]:
        return {login: SampleSite(site, self.random) for login, site in SITES.items()}

    @cached_property
    def _emails(self) -> deque[dict[str, object]]:
        return deque(maxlen=MAX_REMEMBERED)

    @cached_property
    def _attempts(self) -> dict[tuple[str, str], int]:
        return {}

    @cached_property
    def _last_id(self) -> list[int]:
        # IDs must not repeat after a restart, because installations remember their owners.
        return [int(time.time()) % 1_000_000_000]

    def login_of(self, call: Call) -> LoginName | None:
        """Identify the login by the API key."""
        return KEYS.get(call.headers.get("x-filesapi-key", ""))

    def error_response(self, status: int) -> Response:
        """Return an error in Files.com's format."""
        kind = "rate-limited/too-many-requests" if status == 429 else TITLES.get(status, f"sandbox/{status}")
        return Response(status, error_body(status, kind, f"The call failed with {status}."))

    def serve(self, tenant: FilesComTenant, call: Call) -> Response:
        """Handle a call, unless the limit of the options is exceeded."""
        limit = tenant.options.calls_per_second
        if self._budgets[tenant.login].take(per_second=limit, per_day=None) is None:
            return self.handle(tenant, call)
        wait = {"Retry-After": str(math.ceil(1 / (limit or 1)))} if tenant.options.retry_after else {}
        return Response(429, self.error_response(429).body, wait)

    def age_extra_state(self, tenant: FilesComTenant, seconds: float) -> None:
        """Refill the call budget."""
        self._budgets[tenant.login].age(seconds)

    # -- The API -------------------------------------------------------------------------------------------------

    def respond(self, call: Call) -> Response | NoResponse:
        """Respond to a call; a test webhook is sent here, where the lock is not held."""
        outcome = super().respond(call)
        if not isinstance(outcome, PendingTest) or outcome.webhook is None:
            return outcome
        result = self.sender.send(outcome.webhook, timeout=self.answer_within)
        return Response(
            outcome.status, test_call_result(result, self.is_received(result.status or 0), outcome.status == 201)
        )

    def is_list_call(self, call: Call) -> bool:
        """Return whether a call lists all webhooks, or those of a folder."""
        return super().is_list_call(call) or call.path.startswith(f"{self.collection}/folders/")

    def handle(self, tenant: FilesComTenant, call: Call) -> Response:
        """Route a call, check the key's permissions and handle it."""
        options = tenant.options
        try:
            if not options.key_enabled:
                raise ApiError(403, "not-authorized/api-key-is-disabled", "The API key is disabled")
            routes = self._routes(tenant, call)
            if call.method not in routes:
                raise ApiError(405, "bad-request/method-not-allowed", "Method not allowed")
            if call.method != "GET" and options.permission_set != "full":
                raise ApiError(403, "not-authorized/folder-admin-permission-required", "Permission denied")
            return routes[call.method]()
        except ApiError as error:
            return Response(error.status, error.body)

    def _routes(self, tenant: FilesComTenant, call: Call) -> dict[str, Callable[[], Response]]:
        path = call.path.removeprefix(f"{PREFIX}/").removesuffix(".json")
        tests = tenant.options.test_calls
        match [unquote(part) for part in path.split("/")]:
            case ["api_key"] if tenant.options.has_api_key_call:
                return {"GET": lambda: self._api_key(tenant)}
            case ["behaviors"]:
                return {"GET": lambda: self._list(tenant, call, None), "POST": lambda: self._create(tenant, call)}
            case ["behaviors", "folders", folder]:  # a nested folder is one segment, with encoded slashes
                return {"GET": lambda: self._list(tenant, call, folder)}
            case ["behaviors", "webhook", "test"] | ["site", "test-webhook"] if "behaviors" in tests:
                return {"POST": lambda: self._test(tenant, call, 200)}
            case ["webhook_tests"] if "webhook_tests" in tests:
                return {"POST": lambda: self._test(tenant, call, 201)}
            case ["behaviors", remote_id]:
                hook = _find(tenant, remote_id)
                return {
                    "GET": lambda: Response(200, self._described(tenant, hook)),
                    "PATCH": lambda: self._update(tenant, hook, call),
                    "DELETE": lambda: self._delete(tenant, hook),
                }
        raise ApiError(404, "not-found", "Not found")

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
            raise ApiError(403, "not-authorized/non-admins-must-query-by-folder-or-path", "Name a folder or path")
        query = parse_qs(call.query)
        hooks = [hook for hook in tenant.hooks.values() if folder is None or folder.lower() == hook.path.lower()]
        items = [self._described(tenant, hook) for hook in hooks]
        if query.get("filter[behavior]") != ["webhook"]:
            items.insert(0, expiration_behavior(folder or ""))
        start = parse_number(query.get("cursor", ["0"])[0], "bad-request/invalid-cursor")
        size = min(parse_number(query.get("per_page", ["1000"])[0], "bad-request"), tenant.options.page_size)
        more = {"X-Files-Cursor-Next": str(start + size)} if start + size < len(items) else {}
        return Response(200, items[start : start + size], more)

    def _create(self, tenant: FilesComTenant, call: Call) -> Response:
        body = parse_object(call.body)
        if body.get("behavior") != "webhook":
            raise invalid("behavior", "must be webhook in this sandbox")
        path = body.get("path")
        if not isinstance(path, str):
            raise ApiError(422, "bad-request/request-params-required", "path is missing", field="path")
        if path != path.strip("/"):
            raise ApiError(422, "bad-request/invalid-path", "path must not begin or end with a slash", field="path")
        value = self._checked(tenant, body.get("value"))
        self._last_id[0] += 1
        hook = Behavior(
            remote_id=str(self._last_id[0]),
            url=texts(value["urls"])[0],
            path=path,
            value=value,
        )
        configure(hook, body, value)
        tenant.hooks[hook.remote_id] = hook
        return Response(201, self._described(tenant, hook))

    def _update(self, tenant: FilesComTenant, hook: Behavior, call: Call) -> Response:
        body = parse_object(call.body)
        if "path" in body or "behavior" in body:
            raise ApiError(422, "bad-request/request-params-invalid", "path and behavior cannot be changed")
        value = hook.value
        if "value" in body:
            given = decode_value(body["value"])
            merged = {**hook.value, **given} if tenant.options.update_merges_value else given
            value = self._checked(tenant, merged)
        configure(hook, body, value)
        return Response(200, self._described(tenant, hook))

    def _delete(self, tenant: FilesComTenant, hook: Behavior) -> Response:
        del tenant.hooks[hook.remote_id]
        return Response(204)

    def _test(self, tenant: FilesComTenant, call: Call, status: int) -> Response:
        body = parse_object(call.body)
        given = {key: body[key] for key in VALUE_KEYS if key in body}
        value = parse_value({**given, "urls": [body.get("url")]}, self.event_types, at_least=1)
        hook = Behavior(remote_id="0", url=str(body["url"]), path="", value=value)
        event = self._sample_sites[tenant.login].event(str(body.get("action") or "create"), Scope("", True, None))
        return PendingTest(status, webhook=self._message(tenant, hook, event))

    def _checked(self, tenant: FilesComTenant, value: object) -> dict[str, object]:
        return parse_value(value, self.event_types, at_least=2 if tenant.options.require_redundant_url else 1)

    def _described(self, tenant: FilesComTenant, hook: Behavior) -> dict[str, object]:
        described = hook.describe()
        if tenant.options.expand_triggers and not hook.value.get("triggers"):
            described["value"] = {**hook.value, "triggers": list(FILE_ACTIONS)}
        if tenant.options.value_as == "text":
            described["value"] = json.dumps(described["value"])
        if tenant.options.value_as == "urls":
            described["value"] = hook.value["urls"]
        return described

    # -- Hooks of the base class ---------------------------------------------------------------------------------

    def details(self, tenant: FilesComTenant, hook: Behavior) -> dict[str, object]:
        """Return the behavior as the API does."""
        return hook.describe()

    def state(self, tenants: Collection[FilesComTenant]) -> dict[str, object]:
        """Return the state with the emails about undelivered messages."""
        logins = {tenant.login for tenant in tenants}
        with self.lock:
            return {**super().state(tenants), "emails": [mail for mail in self._emails if mail["login"] in logins]}

    def change(
        self, tenant: FilesComTenant, hook: Behavior, *, status: str | None, config: Mapping[str, object] | None
    ) -> None:
        """Merge the given fields of the behavior or of its `value`. A behavior has no status."""
        if status is not None:
            raise InvalidControlInput("status: Files.com cannot disable a behavior; delete it instead")
        fields, changes = api_changes(config or {}, hook)
        try:
            value = self._checked(tenant, {**hook.value, **changes})
        except ApiError as error:
            raise InvalidControlInput(f"config.{error.field or 'value'}: {error}") from None
        configure(hook, fields, value)

    def matches_type(self, hook: Behavior, event_type: str) -> bool:
        """Match by trigger; without triggers, everything matches."""
        triggers = texts(hook.value.get("triggers"))
        return not triggers or event_type in triggers

    def matches(self, hook: Behavior, event: Event) -> bool:
        """Match by type and, if the event has paths, by folder and file name, case-insensitively."""
        if not self.matches_type(hook, event.type):
            return False
        return not event.paths or any(covers(hook, path.lower()) for path in event.paths)

    def make_event(self, tenant: FilesComTenant, event_type: str, hook: Behavior) -> Event:
        """Return a sample event in the webhook's folder."""
        pattern = next(iter(texts(hook.value.get("triggering_filenames"))), None)
        return self._sample_sites[tenant.login].event(event_type, Scope(hook.path, hook.recursive, pattern))

    def is_received(self, status: int) -> bool:
        """Accept 200 and 204; Files.com's log counts 204 as received."""
        return status in (200, 204)

    def build_webhook_call(
        self, tenant: FilesComTenant, hook: Behavior, events: Sequence[Event], *, bad_signature: bool
    ) -> WebhookCall:
        """Build the message for the first URL. A bad signature is a wrong Authorization header."""
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
            content=self._sample_sites[tenant.login].content(event.body),
            raw_plus=tenant.options.raw_plus,
            file_metadata=tenant.options.file_metadata,
            header_encoding=tenant.options.header_encoding,
            body_encoding=tenant.options.body_encoding,
        )

    def _attempt(self, hook: Behavior, event: Event) -> int:
        key = (hook.remote_id, event.id)
        number = self._attempts.pop(key, 0) + 1
        self._attempts[key] = number
        while len(self._attempts) > MAX_REMEMBERED:
            del self._attempts[next(iter(self._attempts))]
        return number

    def send(self, tenant: FilesComTenant, hook: Behavior, call: WebhookCall) -> SendResult:
        """Send to the first URL, then to the redundant ones until one succeeds."""
        urls = texts(hook.value.get("urls"))
        query = call.url.removeprefix(hook.url)
        results: list[SendResult] = []
        for url in (hook.url, *urls[1:]):
            results.append(self.sender.send(replace(call, url=url + query), timeout=self.answer_within))
            if self.is_received(results[-1].status or 0) and not tenant.options.attempt_all_urls:
                break
        good = (result for result in results if self.is_received(result.status or 0))
        return next(good, results[0])

    def handle_failed_delivery(self, tenant: FilesComTenant, hook: Behavior, batch: Batch) -> None:
        """Record an email; Files.com does not disable the webhook."""
        hook.failures += 1
        self._emails.append(
            {
                "login": tenant.login.value,
                "remote_id": hook.remote_id,
                "subject": f"Webhook failure on {hook.path or '/'}",
                "at": iso(time.time()),
            }
        )


simulator = FilesComSimulator


def _find(tenant: FilesComTenant, remote_id: str) -> Behavior:
    if remote_id not in tenant.hooks:
        raise ApiError(404, "not-found", "Not Found. This may be related to your permissions.")
    return tenant.hooks[remote_id]
