"""The Files.com plug-in: capabilities and management calls.

Sources: BrickFTP's "Webhook API" page (the GET webhooks); Files.com's Swagger document (joshrotenberg/files-sdk-rs,
swagger_doc.json) and official SDK (Files-com/files-sdk-python) for the API. Facts that neither confirms are settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import quote

from providers.contract.base import Identity, Provider, Registration, RemoteSubscription, SecretHint, TestResult
from providers.contract.capabilities import Capabilities, ExpirySetBy, Proof, RateLimit, Renewal, SecretMadeBy
from providers.contract.errors import (
    AuthenticationFailed,
    InvalidResponse,
    NotFound,
    ProviderError,
    Refused,
    Unsupported,
)
from providers.contract.parsing import InboundRequest, Parsed, Verification
from providers.contract.response_fields import unmasked_secret
from providers.contract.responses import ProviderResponse
from providers.contract.signatures import same
from providers.files_com import responses, webhook
from providers.files_com.errors import has_type, is_about_the_behavior, read_error
from providers.files_com.event_types import EVENT_TYPES
from providers.files_com.request_bodies import (
    VERIFICATION_KEY,
    FilesComSession,
    behavior_body,
    test_call_body,
    webhook_value,
)
from providers.files_com.schemas import (
    AUTH_HEADER,
    PARENT,
    FilesComConfig,
    FilesComCredentials,
    FilesComSettings,
)

API_PATH = "api/rest/v1"
PAGE_SIZE = 1000  # "1,000 or less is recommended"
MAX_PAGES = 100
CURSOR_HEADER = "X-Files-Cursor-Next"
# The path of each test call and the keys that it accepts. Both accept a definition, not the ID of a saved webhook.
TEST_CALLS: Mapping[str, tuple[str, frozenset[str]]] = {
    "behaviors": ("behaviors/webhook/test", frozenset({"method", "encoding", "headers", "body"})),
    "webhook_tests": (
        "webhook_tests",
        frozenset({"method", "encoding", "headers", "body", "file_as_body", "file_form_field", "use_dedicated_ips"}),
    ),
}


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
        test_is_harmless=True,  # its event carries TEST_MARKER
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
            "The rate limit: it is a setting, and throttling responses are obeyed.",
            "The field names of JSON and XML messages: those of the GET webhook are assumed.",
            "The signature with a verification token, except in the EV1 and EV2 formats: it is not checked.",
            "The metadata sent with a file as the body: the query and X-Files- headers are read.",
            "The retries of failed messages: some retries over three days are assumed, followed by an email.",
        ),
    )
    event_types = EVENT_TYPES
    settings_model = FilesComSettings
    credentials_model = FilesComCredentials
    config_model = FilesComConfig
    # `key` is the API key itself, which the response that describes it contains.
    secret_keys = frozenset({"authorization", "verification_token", "api_key", "key", "X-FilesAPI-Key"})
    manual_steps = (
        "Log in to Files.com as a site administrator or as an administrator of the folder.",
        "Open the folder's settings (formerly the Behaviors tab) and add a webhook.",
        "Enter the callback URL as the primary URL; redundant URLs may follow, separated by commas.",
        "Add the custom header Authorization with the secret as its value.",
        "If no header can be set, disable `expect_header` in the account's settings in Hookkeeper.",
        "To send the file itself as the body, add the custom header X-Hookkeeper-Body with the value file.",
        "Save, and click Test Webhook: the subscription becomes active with the first request.",
    )

    def origin(self, settings: FilesComSettings) -> str:
        """Return the site's host, such as `https://acme.files.com`, or the host that serves every site."""
        return f"https://{settings.subdomain if settings.api_host == 'site' else 'app'}.{PARENT}"

    def rate_limit(self, settings: FilesComSettings) -> RateLimit:
        """Return the limits of the account's settings; Files.com does not document any."""
        return RateLimit(per_second=settings.calls_per_second, per_day=settings.calls_per_day or None)

    def canonical(self, config: FilesComConfig) -> dict[str, object]:
        """Return the config in canonical form; see `responses.canonical`."""
        return responses.canonical(config)

    # -- Calls ---------------------------------------------------------------------------------------------------

    def identify(self, session: FilesComSession) -> Identity:
        """Return the API key's owner, with a warning if it is restricted or expires soon: GET /api_key.

        Some sites do not have this call. There, the list call checks the key, and the owner is unknown.
        """
        try:
            response = self._call(session, "GET", "api_key")
        except ProviderError as error:
            if isinstance(error, AuthenticationFailed) or not _is_missing_call(error):
                raise
            return super().identify(session)
        return responses.read_identity(response, datetime.now(UTC))

    def list_remote(self, session: FilesComSession) -> tuple[RemoteSubscription, ...]:
        """Return all webhooks: GET /behaviors, or /behaviors/folders/{path} for each folder of the settings."""
        paths = [f"behaviors/folders/{_folder(folder)}" for folder in session.settings.folders] or ["behaviors"]
        behaviors = [behavior for path in paths for behavior in self._pages(session, path)]
        return tuple({item.remote.remote_id: _with_secret_check(session, item, None) for item in behaviors}.values())

    def register(self, session: FilesComSession, registration: Registration[FilesComConfig]) -> RemoteSubscription:
        """Create a webhook: POST /behaviors."""
        _require_listed(session.settings, registration.config.path)
        body = {
            "path": _api_path(registration.config.path),
            "behavior": responses.WEBHOOK,
            **behavior_body(session, registration, webhook_value(session, registration)),
        }
        response = self._call(session, "POST", "behaviors", body)
        try:
            return _with_secret_check(session, responses.read_behavior(response.json()), registration.secret)
        except InvalidResponse as error:
            # The status was a success, so there may be a new webhook whose ID could not be read.
            raise InvalidResponse(error.message, status=response.status, outcome_unknown=True) from None

    def read_remote(self, session: FilesComSession, remote_id: str, secret: str | None = None) -> RemoteSubscription:
        """Return one webhook: GET /behaviors/{id}."""
        return _with_secret_check(session, self._read(session, remote_id), secret)

    def update(
        self, session: FilesComSession, remote_id: str, registration: Registration[FilesComConfig]
    ) -> RemoteSubscription:
        """Change a webhook and read it back: PATCH /behaviors/{id}. The path cannot change, so it is not sent.

        It is unconfirmed whether a new `value` is merged into the old one. The webhook is read first, and keys that the
        config does not cover (a verification token that others rely on, unknown keys) are sent back unchanged.
        """
        current = self._read(session, remote_id).value or {}
        unmanaged = {key: value for key, value in current.items() if key not in responses.MANAGED_KEYS}
        if unmasked_secret(unmanaged.get(VERIFICATION_KEY)) is None:
            unmanaged.pop(VERIFICATION_KEY, None)  # the mask of a hidden token must not become the token
        value = {**unmanaged, **webhook_value(session, registration, complete=True)}
        body = behavior_body(session, registration, value)
        self._call(session, "PATCH", _path(remote_id), body)
        return self.read_remote(session, remote_id, registration.secret)

    def delete(self, session: FilesComSession, remote_id: str) -> None:
        """Delete a webhook: DELETE /behaviors/{id}."""
        self._call(session, "DELETE", _path(remote_id))

    def test(self, session: FilesComSession, remote_id: str, registration: Registration[FilesComConfig]) -> TestResult:
        """Ask for a test webhook with our definition: POST /behaviors/webhook/test or /webhook_tests.

        Neither call tests the saved webhook. If the call of the account's settings does not exist, the other is used.
        """
        first = session.settings.test_call
        for call in (first, *(other for other in TEST_CALLS if other != first)):
            path, keys = TEST_CALLS[call]
            try:
                return responses.read_test(
                    self._call(session, "POST", path, test_call_body(session, registration, keys))
                )
            except ProviderError as error:
                if not _is_missing_call(error):
                    raise
        raise Unsupported("This Files.com site has neither of the two test calls.")

    def _read(self, session: FilesComSession, remote_id: str) -> responses.Behavior:
        item = self._call(session, "GET", _path(remote_id)).json_object()
        if not responses.is_webhook(item):
            raise NotFound(f"Behavior {remote_id} is not a webhook.")
        behavior = responses.read_behavior(item)
        if behavior.remote.remote_id != remote_id:
            raise InvalidResponse(f"The provider returned another behavior than the requested {remote_id}.")
        return behavior

    def _pages(self, session: FilesComSession, path: str) -> Iterator[responses.Behavior]:
        """Yield the webhooks of all pages of a list call."""
        params = {"filter[behavior]": responses.WEBHOOK, "per_page": str(PAGE_SIZE)}
        seen: set[str] = set()
        for _ in range(MAX_PAGES):
            response = self._call(session, "GET", path, params=params)
            yield from responses.read_behaviors(response.json())
            cursor = response.headers.get(CURSOR_HEADER, "").strip()
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
        url = f"{self.api_origin(session.settings)}/{API_PATH}/{path}"
        headers = {"X-FilesAPI-Key": session.credentials.api_key}

        def read(response: ProviderResponse) -> ProviderError | None:
            error = read_error(response)
            return self._not_found(session, method, path, response, error) if isinstance(error, NotFound) else error

        return session.http.call(method, url, headers=headers, json_body=body, params=params, read_error=read)

    def _not_found(
        self, session: FilesComSession, method: str, path: str, response: ProviderResponse, error: NotFound
    ) -> ProviderError:
        """Return the error for a 404, which may mean a folder, the behavior, or the API itself."""
        status = error.status
        if path.startswith("behaviors/folders/"):
            return InvalidResponse(
                f"Files.com has no folder for {path}. Check the account's setting `folders`.", status=status
            )
        if path in ("behaviors", "api_key"):
            if not has_type(response):
                # The call named no folder and no behavior, so the API itself was not found.
                return InvalidResponse(
                    f"There is no Files.com API at {self.api_origin(session.settings)}. Check the subdomain.",
                    status=status,
                )
            if method == "POST":
                return Refused(error.message, status=status, field="path")
            return InvalidResponse(error.message, status=status)
        if method == "PATCH" and not is_about_the_behavior(response):
            return Refused(error.message, status=status, field="path")
        return error

    # -- Inbound -------------------------------------------------------------------------------------------------

    def verify(self, request: InboundRequest, secrets: Sequence[str], settings: FilesComSettings) -> Verification:
        """Compare the secret with the Authorization header.

        Without the header the result is failed or, if the account does not expect one, not verifiable.
        """
        return webhook.verify(request, secrets, expect_header=settings.expect_header)

    def parse(self, request: InboundRequest) -> Parsed:
        """Parse one event from a query, a form, JSON, XML, a multipart form, or the metadata of a file."""
        return webhook.parse(request)

    def new_secret(self) -> str:
        """Return a new secret as a complete header value."""
        return f"Bearer {super().new_secret()}"

    def secret_hint(self, settings: FilesComSettings, secret: str | None) -> SecretHint:
        """Return the header that the receiver accepts."""
        return SecretHint(kind=Proof.HEADER, header=AUTH_HEADER, value=secret)


def _with_secret_check(
    session: FilesComSession, behavior: responses.Behavior, secret: str | None
) -> RemoteSubscription:
    """Return the webhook with `secret_matches`, as far as its secrets are readable.

    Without `secret`, the Authorization header is left for the caller to compare.
    """
    remote, token = behavior.remote, session.credentials.verification_token
    if not session.settings.expect_header:
        remote = replace(remote, shown_secret=None)
    if token and behavior.value is not None:
        shown = behavior.value.get(VERIFICATION_KEY)
        if not shown or unmasked_secret(shown) not in (None, token):
            return replace(remote, secret_matches=False)
    if secret and remote.shown_secret is not None:
        return replace(remote, secret_matches=same(remote.shown_secret, secret))
    return remote


def _path(remote_id: str) -> str:
    # The ID becomes part of a URL path. Only numbers are IDs, so nothing else can exist.
    if not (remote_id.isascii() and remote_id.isdecimal()):
        raise NotFound(f"Files.com has no behavior {remote_id!r}; its IDs are numbers.")
    return f"behaviors/{remote_id}"


def _api_path(path: str) -> str:
    """Return the path in Files.com's form: without slashes at its ends, so that the root is empty."""
    return path.strip("/")


def _folder(path: str) -> str:
    """Return a folder as one segment of a URL path; the API does not find a nested folder with a plain slash."""
    return quote(_api_path(path), safe="")


def _require_listed(settings: FilesComSettings, path: str) -> None:
    """Raise Refused for a folder that is not listed: its webhook would seem missing and be registered repeatedly."""
    folders = {folder.lower() for folder in settings.folders}
    if folders and path.lower() not in folders:
        raise Refused(
            f"This account is limited to {', '.join(settings.folders)}. Add {path} to its setting `folders`.",
            field="path",
        )


def _is_missing_call(error: ProviderError) -> bool:
    return isinstance(error, NotFound | Unsupported) or error.status in (404, 405, 410)
