"""The SideDrawer plug-in: capabilities and management calls.

Sources: SideDrawer's API reference, page "Webhooks", for the fields of a subscription; its other pages and its
JavaScript SDK for hosts, conventions and lists. Paths and HTTP methods are not published, so they are account settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode, urlsplit

from providers.contract.base import Provider, Registration, RemoteSubscription
from providers.contract.capabilities import Capabilities, ExpirySetBy, Proof, Renewal, SecretMadeBy
from providers.contract.errors import InvalidResponse, NotFound, Refused, Unsupported
from providers.contract.event_fields import parse_iso_time
from providers.contract.parsing import InboundRequest, Parsed, Verification
from providers.contract.response_fields import invalid_field
from providers.contract.responses import ProviderResponse
from providers.contract.session import ProviderSession
from providers.sidedrawer import errors, responses, webhook
from providers.sidedrawer.auth import call_with_token, login_origin
from providers.sidedrawer.event_types import EVENT_TYPES
from providers.sidedrawer.resources import resource_of
from providers.sidedrawer.schemas import SOCKET, SideDrawerConfig, SideDrawerCredentials, SideDrawerSettings

SideDrawerSession = ProviderSession[SideDrawerSettings, SideDrawerCredentials]
SideDrawerRegistration = Registration[SideDrawerConfig]

API_HOSTS = {"production": "https://api.sidedrawer.com", "sandbox": "https://api-sbx.sidedrawersbx.com"}
MAX_PAGES = 100
CLIENT_FIELDS = ("client_id", "client_secret")


class SideDrawer(Provider[SideDrawerSettings, SideDrawerCredentials, SideDrawerConfig]):
    """The SideDrawer plug-in."""

    slug = "sidedrawer"
    name = "SideDrawer"
    capabilities = Capabilities(
        can_list=True,
        list_has_details=True,
        reveals_url=True,
        can_update=True,
        can_set_status=False,
        update_may_enable=True,
        can_test=False,
        can_identify=False,
        renewal=Renewal.UPDATE,
        expiry_set_by=ExpirySetBy.US,
        proof=Proof.HMAC,
        secret_made_by=SecretMadeBy.US,
        requires_https=True,
        methods=("POST",),
        has_event_id=False,
        notes=(
            "The paths and the HTTP method that manage webhooks: they are account settings.",
            "Whether your tenant has an API for webhooks: without one, register manually (`manual`).",
            "Connection SOCKET: Hookkeeper registers and renews it, but its events do not arrive over HTTP.",
            "Which of any, create, update and delete some resources accept: SideDrawer's error is shown.",
            "The maximum lifetime, and whether an update extends it: the granted expiry is always read back.",
            "The encoding of the hash: hex, base64 and base64url are accepted, and the one that matched is shown.",
            "The body of an event: its type is derived from the available fields; an encrypted body is kept whole.",
            "Whether a webhook has a status: without one it is assumed to be enabled until it expires.",
        ),
    )
    event_types = EVENT_TYPES
    settings_model = SideDrawerSettings
    credentials_model = SideDrawerCredentials
    config_model = SideDrawerConfig
    secret_keys = frozenset({"integrityKey", "clientSecret", "access_token", "accessToken", "refresh_token"})
    manual_steps = (
        "Register a webhook at SideDrawer as its support recommends, for example with an API tool or a script.",
        "Set `notificationUrl` to the callback URL shown here, and `connectionType` to HTTP.",
        "Set `integrityKey` to the secret shown here: without it no hash is sent and events are refused.",
        "Set `resource`, `modificationType`, `maxRetries` and the other fields to the values of the config here.",
        "Set `expirationDateTime` as far in the future as SideDrawer accepts.",
        "Renew the webhook at SideDrawer before it expires: Hookkeeper does not renew it.",
        "The subscription becomes active with the first event that has a valid hash.",
    )

    def origin(self, settings: SideDrawerSettings) -> str:
        """Return the API host of the environment."""
        return API_HOSTS[settings.environment]

    def credential_origins(self, settings: SideDrawerSettings) -> tuple[str, ...]:
        """Return the origins of the API and of the developer login."""
        return (self.api_origin(settings), login_origin(settings))

    def merge_credentials(self, stored: Mapping[str, object], given: Mapping[str, object]) -> dict[str, object]:
        """Merge credentials; entering a token drops a stored client ID and secret, and the other way round."""
        token, client = bool(given.get("access_token")), any(given.get(name) for name in CLIENT_FIELDS)
        dropped = {"access_token"} if client and not token else set(CLIENT_FIELDS) if token and not client else set()
        return {**{name: value for name, value in stored.items() if name not in dropped}, **given}

    def canonical(self, config: SideDrawerConfig) -> dict[str, object]:
        """Return the config without the lifetime, which only determines the requested expiry.

        A fixed expiry is included, so that a change is sent; the granted one is read apart.
        """
        unused = {"lifetime_days"} if config.expires_at else {"lifetime_days", "expires_at"}
        return config.model_dump(mode="json", exclude=unused)

    def fixed_end_field(self, config: SideDrawerConfig) -> str | None:
        """Return the field with the expiry, if it is given as a time instead of days."""
        return "expires_at" if config.expires_at else None

    def warnings(self, config: SideDrawerConfig) -> tuple[str, ...]:
        """Warn about the connection SOCKET, and about resources with unclear modifications in SideDrawer's table."""
        warnings: list[str] = []
        if config.connection_type == SOCKET:
            warnings.append("Its events are sent over a socket connection, not over HTTP, and will not arrive here.")
        resource = resource_of(config.resource)
        if resource and resource.doubt:
            warnings.append(f"{resource.doubt}: {config.modification_type} may be refused or give no events.")
        return tuple(warnings)

    # -- Calls ---------------------------------------------------------------------------------------------------

    def list_remote(self, session: SideDrawerSession) -> tuple[RemoteSubscription, ...]:
        """Return all webhooks, page by page: GET the collection."""
        start = url = self._collection_url(session)
        webhooks: dict[str, RemoteSubscription] = {}
        seen: set[str] = set()
        while url not in seen and len(seen) < MAX_PAGES:
            seen.add(url)
            page = responses.read_page(self._call_collection(session, "GET", url).json())
            for remote in responses.read_webhooks(page.items, session.settings):
                webhooks.setdefault(remote.remote_id, remote)
            if page.next is None:
                return tuple(webhooks.values())
            url = _next_url(start, page.next)
        raise InvalidResponse(f"SideDrawer's list of webhooks does not end after {len(seen)} pages.")

    def register(self, session: SideDrawerSession, registration: SideDrawerRegistration) -> RemoteSubscription:
        """Create a webhook: POST to the collection. The granted values are read from the response."""
        self.require_usable_url(session.settings, registration.callback_url)
        body = _body(session.settings, registration)
        response = self._call_collection(session, "POST", self._collection_url(session), body)
        try:
            return responses.read_webhook(response.json(), session.settings, secret=registration.secret)
        except InvalidResponse as error:
            # The status was a success, so there may be a new webhook whose ID could not be read.
            raise InvalidResponse(error.message, status=response.status, outcome_unknown=True) from None

    def read_remote(self, session: SideDrawerSession, remote_id: str, secret: str | None = None) -> RemoteSubscription:
        """Return one webhook: GET the item or, if that call does not exist, the entry of the list."""
        try:
            response = self._call(session, "GET", self._item_url(session, remote_id))
        except (NotFound, Unsupported):
            listed = self._find_in_list(session, remote_id)
            if listed is None:
                raise _not_found(remote_id) from None
            return listed
        return responses.read_webhook(response.json(), session.settings, secret=secret, expected_id=remote_id)

    def update(
        self, session: SideDrawerSession, remote_id: str, registration: SideDrawerRegistration
    ) -> RemoteSubscription:
        """Replace the whole webhook with a new expiry and read it back: PUT the item.

        The response to the PUT is not published. `renew` is the same call; the caller compares the expiry. Raises
        Unsupported if the call does not exist.
        """
        self.require_usable_url(session.settings, registration.callback_url)
        body = _body(session.settings, registration)
        self._call_item(session, session.settings.update_verb, remote_id, body)
        return self.read_remote(session, remote_id, registration.secret)

    def delete(self, session: SideDrawerSession, remote_id: str) -> None:
        """Delete a webhook: DELETE the item."""
        self._call_item(session, "DELETE", remote_id)

    def _call(self, session: SideDrawerSession, method: str, url: str, body: object = None) -> ProviderResponse:
        def send(token: str) -> ProviderResponse:
            headers = {"Authorization": f"Bearer {token}"}
            return session.http.call(method, url, headers=headers, json_body=body, read_error=errors.read_error)

        return call_with_token(session, send)

    def _call_collection(
        self, session: SideDrawerSession, method: str, url: str, body: object = None
    ) -> ProviderResponse:
        try:
            return self._call(session, method, url, body)
        except (NotFound, Unsupported) as error:
            # The call named no webhook, so the path does not exist. This says nothing about the credentials.
            raise InvalidResponse(
                f"SideDrawer answered {error.status} to {method} {urlsplit(url).path}: this path is not confirmed and"
                " does not exist. Ask SideDrawer for the right paths and change the account's settings collection_path"
                " and item_path (and environment, if it is the wrong one), or register manually (`manual`).",
                status=error.status,
            ) from None

    def _call_item(
        self, session: SideDrawerSession, method: str, remote_id: str, body: object = None
    ) -> ProviderResponse:
        """Make a call about one webhook. After a 404 the list shows whether the webhook or the path does not exist."""
        url = self._item_url(session, remote_id)
        try:
            return self._call(session, method, url, body)
        except (NotFound, Unsupported) as error:
            if self._find_in_list(session, remote_id) is None:
                raise _not_found(remote_id) from None
            raise Unsupported(
                f"SideDrawer answered {error.status} to {method} {urlsplit(url).path}, although its list contains this"
                " webhook: path and method are not confirmed. If SideDrawer names others, change the account's settings"
                " item_path and update_verb.",
                status=error.status,
            ) from None

    def _find_in_list(self, session: SideDrawerSession, remote_id: str) -> RemoteSubscription | None:
        return next((item for item in self.list_remote(session) if item.remote_id == remote_id), None)

    def _collection_url(self, session: SideDrawerSession) -> str:
        return self._url(session.settings, session.settings.collection_path)

    def _item_url(self, session: SideDrawerSession, remote_id: str) -> str:
        return self._url(session.settings, session.settings.item_path, id=remote_id)

    def _url(self, settings: SideDrawerSettings, template: str, **ids: str) -> str:
        for name, value in {"tenantId": settings.tenant_id, **ids}.items():
            template = template.replace(f"{{{name}}}", quote(value, safe=""))
        return self.api_origin(settings) + template

    # -- Inbound -------------------------------------------------------------------------------------------------

    def verify(self, request: InboundRequest, secrets: Sequence[str], settings: SideDrawerSettings) -> Verification:
        """Verify the HMAC-SHA256 of the body in the header that the settings name."""
        return webhook.verify(
            request, secrets, header=settings.integrity_header, accept_compact=settings.accept_compact_json
        )

    def sensitive_headers(self, settings: SideDrawerSettings) -> frozenset[str]:
        """Return the usual headers and the one with the hash, which would allow replaying a request."""
        return super().sensitive_headers(settings) | {settings.integrity_header.lower()}

    def parse(self, request: InboundRequest) -> Parsed:
        """Parse an event or a list of events."""
        return webhook.parse(request)


def _body(settings: SideDrawerSettings, registration: SideDrawerRegistration) -> dict[str, object]:
    config = registration.config
    modification = config.modification_type
    now = datetime.now(UTC)
    expires_at = parse_iso_time(config.expires_at) or now + timedelta(days=config.lifetime_days)
    if expires_at <= now:
        raise Refused("The expiry of the config is in the past. Enter a later one.", field="expires_at")
    body: dict[str, object | None] = {
        "modificationType": (
            modification.capitalize() if settings.modification_type_case == "capitalised" else modification
        ),
        "connectionType": config.connection_type,
        # Only HTTP requires the URL, but its token also shows that a webhook is ours.
        "notificationUrl": registration.callback_url,
        "resource": config.resource,
        "expirationDateTime": expires_at.isoformat(timespec="seconds"),
        "brandCode": config.brand_code,
        "notificationMessages": config.notification_messages,
        "integrityKey": registration.secret,
        "maxRetries": config.max_retries,
    }
    return {name: value for name, value in body.items() if value is not None}


def _next_url(start: str, following: str) -> str:
    """Return the URL of the next page, given as a URL, a query, or a cursor.

    Only path and query of a URL are used, so that the token is sent to our host only. A cursor is sent as
    `startingAfter` (the name in SideDrawer's JavaScript SDK).
    """
    if following.startswith("?"):
        return start + following
    if following.startswith(("http://", "https://", "/")):
        try:
            parts = urlsplit(following)
        except ValueError:
            raise invalid_field("nextPage", "is not a URL") from None
        base = urlsplit(start)
        return base._replace(path=parts.path or base.path, query=parts.query).geturl()
    return f"{start}?{urlencode({'startingAfter': following})}"


def _not_found(remote_id: str) -> NotFound:
    return NotFound(f"SideDrawer has no webhook {remote_id}.", status=404)
