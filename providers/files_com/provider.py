"""Files.com: what its behaviors API can do, and the calls.

Sources: BrickFTP's "Webhook API" page (the GET webhooks); Files.com's Swagger document (joshrotenberg/files-sdk-rs,
swagger_doc.json) and official SDK (Files-com/files-sdk-python) for the API. What neither confirms is a setting.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import quote

from providers.contract.base import Identity, Provider, Registration, RemoteSubscription, SecretHint, TestResult
from providers.contract.capabilities import Capabilities, ExpirySetBy, Proof, RateLimit, Renewal, SecretMadeBy
from providers.contract.errors import InvalidResponse, NotFound, ProviderError, Refused, Unsupported
from providers.contract.parsing import InboundRequest, Parsed, Verification
from providers.contract.responses import ProviderResponse
from providers.contract.session import ProviderSession
from providers.contract.signatures import same
from providers.files_com import responses, webhook
from providers.files_com.errors import has_type, is_about_the_behavior, read_error
from providers.files_com.event_types import EVENT_TYPES
from providers.files_com.schemas import (
    AUTH_HEADER,
    FILE_HEADER,
    PARENT,
    ROOT,
    FilesComConfig,
    FilesComCredentials,
    FilesComSettings,
)

API = "api/rest/v1"
PER_PAGE = 1000  # "1,000 or less is recommended"
MOST_PAGES = 100
CURSOR_NEXT = "X-Files-Cursor-Next"
DEFAULT_NAME = "Hookkeeper"
SIGNED_WITH = "verification_token"
# What each test call takes; both take a definition, not the id of a saved webhook.
TEST_CALLS: Mapping[str, tuple[str, frozenset[str]]] = {
    "behaviors": ("behaviors/webhook/test", frozenset({"method", "encoding", "headers", "body"})),
    "webhook_tests": (
        "webhook_tests",
        frozenset({"method", "encoding", "headers", "body", "file_as_body", "file_form_field", "use_dedicated_ips"}),
    ),
}
TEST_MARK = {"hookkeeper_test": "1"}  # so that the event that comes of a test can be told from a real one

FilesComSession = ProviderSession[FilesComSettings, FilesComCredentials]


class FilesCom(Provider[FilesComSettings, FilesComCredentials, FilesComConfig]):
    """The Files.com plug-in."""

    slug = "files-com"
    name = "Files.com"
    capabilities = Capabilities(
        can_list=True,
        list_has_details=True,
        reveals_url=True,
        can_update=True,
        can_set_status=False,
        can_test=True,
        test_is_harmless=True,  # marked with TEST_MARK
        can_identify=True,
        renewal=Renewal.NONE,
        expiry_set_by=ExpirySetBy.NOBODY,
        proof=Proof.HEADER,
        secret_made_by=SecretMadeBy.US,
        methods=("GET", "POST"),
        has_event_id=False,
        sends_files=True,
        immutable_fields=("path",),
        success_statuses=(200, 204),
        notes=(
            "How many calls Files.com allows: a setting, and its refusals are obeyed.",
            "The names of the fields in JSON and XML messages: those of the GET webhook are assumed.",
            "How messages are signed with a verification token, except in the EV1 and EV2 formats: not relied on.",
            "What a message that is the file itself tells besides: query and X-Files- headers are read.",
            "When and how often failed messages are repeated: a few times over three days, then an e-mail is sent.",
        ),
    )
    event_types = EVENT_TYPES
    settings_model = FilesComSettings
    credentials_model = FilesComCredentials
    config_model = FilesComConfig
    # `key` is the API key itself, which its own description contains.
    secret_keys = frozenset({"authorization", "verification_token", "api_key", "key", "X-FilesAPI-Key"})
    manual_steps = (
        "Log in to Files.com as a site administrator, or as an administrator of the folder.",
        "Open the folder's settings (formerly the Behaviors tab) and add a webhook there.",
        "Enter the callback URL as the primary URL; redundant URLs may follow it, separated by commas.",
        "Add the custom header Authorization with the secret as its value.",
        "Where no header can be set, switch `expect_header` off in the account's settings here.",
        "If the file itself is to be sent as the body, add the custom header X-Hookkeeper-Body with the value file.",
        "Save, and use Test Webhook there: the subscription becomes active with the first request.",
    )

    def origin(self, settings: FilesComSettings) -> str:
        """`https://acme.files.com`, or the host that serves every site."""
        return f"https://{settings.subdomain if settings.api_host == 'site' else 'app'}.{PARENT}"

    def rate_limit(self, settings: FilesComSettings) -> RateLimit:
        """As set for this account; Files.com names no numbers."""
        return RateLimit(per_second=settings.calls_per_second, per_day=settings.calls_per_day or None)

    def canonical(self, config: FilesComConfig) -> dict[str, object]:
        """See `answers.canonical`."""
        return responses.canonical(config)

    # -- Calls ---------------------------------------------------------------------------------------------------

    def identify(self, session: FilesComSession) -> Identity:
        """GET /api_key. Warns when the key has not all permissions, or ends soon."""
        return responses.read_identity(self._call(session, "GET", "api_key"), datetime.now(UTC))

    def list_remote(self, session: FilesComSession) -> tuple[RemoteSubscription, ...]:
        """GET /behaviors, page by page; or /behaviors/folders/{path} for each folder that the settings name."""
        paths = [f"behaviors/folders/{_folder(folder)}" for folder in session.settings.folders] or ["behaviors"]
        found = [behavior for path in paths for behavior in self._pages(session, path)]
        return tuple({item.remote.remote_id: _checked(session, item, None) for item in found}.values())

    def register(self, session: FilesComSession, registration: Registration[FilesComConfig]) -> RemoteSubscription:
        """POST /behaviors."""
        _require_listed(session.settings, registration.config.path)
        body = {
            "path": registration.config.path,
            "behavior": responses.WEBHOOK,
            **_body(session, registration, _value(session, registration)),
        }
        answer = self._call(session, "POST", "behaviors", body)
        try:
            return _checked(session, responses.read_behavior(answer.json()), registration.secret)
        except InvalidResponse as error:
            # Files.com said yes, so there may be a new webhook whose id we could not read.
            raise InvalidResponse(error.message, status=answer.status, outcome_unknown=True) from None

    def read_remote(self, session: FilesComSession, remote_id: str, secret: str | None = None) -> RemoteSubscription:
        """GET /behaviors/{id}."""
        return _checked(session, self._read(session, remote_id), secret)

    def update(
        self, session: FilesComSession, remote_id: str, registration: Registration[FilesComConfig]
    ) -> RemoteSubscription:
        """PATCH /behaviors/{id}, then reads it back. The path cannot change, so it is not sent.

        Whether a new `value` is merged into the old one is unknown. It is read before, and what our config does not
        cover (a verification token that others rely on, keys still unknown) is sent back as it was.
        """
        present = self._read(session, remote_id).value or {}
        kept = {key: value for key, value in present.items() if key not in responses.MANAGED_KEYS}
        if responses.shown_in_clear(kept.get(SIGNED_WITH)) is None:
            kept.pop(SIGNED_WITH, None)  # what stands in for a hidden token must not become the token
        body = _body(session, registration, {**kept, **_value(session, registration, complete=True)})
        self._call(session, "PATCH", _path(remote_id), body)
        return self.read_remote(session, remote_id, registration.secret)

    def delete(self, session: FilesComSession, remote_id: str) -> None:
        """DELETE /behaviors/{id}."""
        self._call(session, "DELETE", _path(remote_id))

    def test(self, session: FilesComSession, remote_id: str, registration: Registration[FilesComConfig]) -> TestResult:
        """POST /behaviors/webhook/test or /webhook_tests with our definition: they do not test the saved webhook.
        Where the account's choice does not exist, the other one is used."""
        first = session.settings.test_call
        for call in (first, *(other for other in TEST_CALLS if other != first)):
            path, keys = TEST_CALLS[call]
            try:
                return responses.read_test(self._call(session, "POST", path, _test(session, registration, keys)))
            except ProviderError as error:
                if not _no_such_call(error):
                    raise
        raise Unsupported("Files.com has neither of the two test calls here.")

    def _read(self, session: FilesComSession, remote_id: str) -> responses.Behavior:
        item = self._call(session, "GET", _path(remote_id)).json_object()
        if not responses.is_webhook(item):
            raise NotFound(f"Behavior {remote_id} is no webhook.")
        found = responses.read_behavior(item)
        if found.remote.remote_id != remote_id:
            raise InvalidResponse(f"The provider was asked about behavior {remote_id} and answered about another one.")
        return found

    def _pages(self, session: FilesComSession, path: str) -> Iterator[responses.Behavior]:
        params = {"filter[behavior]": responses.WEBHOOK, "per_page": str(PER_PAGE)}
        seen: set[str] = set()
        for _ in range(MOST_PAGES):
            answer = self._call(session, "GET", path, params=params)
            yield from responses.read_behaviors(answer.json())
            cursor = answer.headers.get(CURSOR_NEXT, "").strip()
            if not cursor:
                return
            if cursor in seen:
                break
            seen.add(cursor)
            params["cursor"] = cursor
        raise InvalidResponse("The provider's list of behaviors does not end.")

    def _call(
        self,
        session: FilesComSession,
        method: str,
        path: str,
        body: object = None,
        params: Mapping[str, str] | None = None,
    ) -> ProviderResponse:
        url = f"{self.api_origin(session.settings)}/{API}/{path}"
        headers = {"X-FilesAPI-Key": session.credentials.api_key}

        def read(answer: ProviderResponse) -> ProviderError | None:
            error = read_error(answer)
            return self._not_found(session, method, path, answer, error) if isinstance(error, NotFound) else error

        return session.http.call(method, url, headers=headers, json_body=body, params=params, read_error=read)

    def _not_found(
        self, session: FilesComSession, method: str, path: str, answer: ProviderResponse, error: NotFound
    ) -> ProviderError:
        """What it means that something is not there: a folder of ours, the behavior, or the API."""
        status = error.status
        if path.startswith("behaviors/folders/"):
            return InvalidResponse(
                f"Files.com has no folder for {path}. Look at the account's setting `folders`.", status=status
            )
        if path in ("behaviors", "api_key"):
            if not has_type(answer):
                # Nothing was named that could be missing, so it is the API that is not there.
                return InvalidResponse(
                    f"There is no Files.com API at {self.api_origin(session.settings)}. Check the subdomain.",
                    status=status,
                )
            if method == "POST":
                return Refused(error.message, status=status, field="path")
            return InvalidResponse(error.message, status=status)
        if method == "PATCH" and not is_about_the_behavior(answer):
            return Refused(error.message, status=status, field="path")
        return error

    # -- Inbound -------------------------------------------------------------------------------------------------

    def verify(self, request: InboundRequest, secrets: Sequence[str], settings: FilesComSettings) -> Verification:
        """Compares the secret with the Authorization header. Without one: failed, or, where the account expects none,
        not verifiable."""
        return webhook.verify(request, secrets, expect_header=settings.expect_header)

    def parse(self, request: InboundRequest) -> Parsed:
        """One event from a query, a form, JSON, XML, a multipart form, or what is known of a file."""
        return webhook.parse(request)

    def new_secret(self) -> str:
        """A complete header value."""
        return f"Bearer {super().new_secret()}"

    def secret_hint(self, settings: FilesComSettings, secret: str | None) -> SecretHint:
        """The header as the receiver accepts it."""
        return SecretHint(kind=Proof.HEADER, header=AUTH_HEADER, value=secret)


def _checked(session: FilesComSession, found: responses.Behavior, secret: str | None) -> RemoteSubscription:
    """The webhook with what can be told of the secrets that it shows. Without `secret`, the Authorization header is
    left for the caller to compare."""
    remote, token = found.remote, session.credentials.verification_token
    if not session.settings.expect_header:
        remote = replace(remote, shown_secret=None)
    if token and found.value is not None:
        shown = found.value.get(SIGNED_WITH)
        if not shown or responses.shown_in_clear(shown) not in (None, token):
            return replace(remote, secret_matches=False)
    if secret and remote.shown_secret is not None:
        return replace(remote, secret_matches=same(remote.shown_secret, secret))
    return remote


def _path(remote_id: str) -> str:
    # It becomes part of a URL path; ids are numbers, so anything else cannot be there.
    if not (remote_id.isascii() and remote_id.isdecimal()):
        raise NotFound(f"Files.com has no behavior {remote_id!r}; their ids are numbers.")
    return f"behaviors/{remote_id}"


def _folder(path: str) -> str:
    return "" if path == ROOT else quote(path, safe="/")


def _require_listed(settings: FilesComSettings, path: str) -> None:
    """A webhook in a folder that is never looked at would be missed and registered again and again."""
    folders = {folder.lower() for folder in settings.folders}
    if folders and path.lower() not in folders:
        raise Refused(
            f"This account looks only at {', '.join(settings.folders)}. Add {path} to its setting `folders`.",
            field="path",
        )


def _body(
    session: FilesComSession, registration: Registration[FilesComConfig], value: Mapping[str, object]
) -> dict[str, object]:
    return {
        "name": registration.name or DEFAULT_NAME,
        "recursive": registration.config.recursive,
        "value": json.dumps(value) if session.settings.value_format == "text" else dict(value),
    }


def _value(
    session: FilesComSession, registration: Registration[FilesComConfig], *, complete: bool = False
) -> dict[str, object]:
    """A webhook's `value`. Ours is the first URL. What is empty is left out, unless `complete`: then it takes the place
    of what may be there."""
    config = registration.config
    value: dict[str, object] = {
        "urls": [registration.callback_url, *config.redundant_urls],
        "method": config.method,
        "triggers": list(config.triggers),
        "triggering_filenames": list(config.filenames),
        "exclude_filenames": list(config.exclude_filenames),
        "encoding": config.encoding,
        "headers": _headers(session.settings, registration),
        "body": dict(config.body),
        "file_form_field": config.file_form_field,
        "file_as_body": config.file_as_body,
        "use_dedicated_ips": config.use_dedicated_ips,
    }
    if session.credentials.verification_token:
        value[SIGNED_WITH] = session.credentials.verification_token
    return {key: item for key, item in value.items() if item or complete}


def _headers(settings: FilesComSettings, registration: Registration[FilesComConfig]) -> dict[str, str]:
    headers = dict(registration.config.headers)
    if settings.expect_header and registration.secret:
        headers[AUTH_HEADER] = registration.secret
    if settings.expect_header and registration.config.file_as_body:
        headers[FILE_HEADER] = "file"
    return headers


def _test(
    session: FilesComSession, registration: Registration[FilesComConfig], keys: frozenset[str]
) -> dict[str, object]:
    value = _value(session, registration)
    value["body"] = {**TEST_MARK, **registration.config.body}
    action = next(iter(registration.config.triggers), "create")
    return {
        "url": registration.callback_url,
        "action": action,
        **{key: item for key, item in value.items() if key in keys},
    }


def _no_such_call(error: ProviderError) -> bool:
    return isinstance(error, NotFound | Unsupported) or error.status in (404, 405, 410)
