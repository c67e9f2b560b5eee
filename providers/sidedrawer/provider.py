"""SideDrawer: what its webhooks can do, and the calls.

Sources: SideDrawer's API reference, page "Webhooks", for the fields of a subscription; its other pages and its
JavaScript SDK for hosts, house style and lists. Paths and verbs are published nowhere: they are account settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode, urlsplit

from providers.contract.base import Provider, Registration, RemoteSubscription
from providers.contract.capabilities import Capabilities, ExpirySetBy, Proof, Renewal, SecretMadeBy
from providers.contract.errors import InvalidResponse, NotFound, Unsupported
from providers.contract.parsing import InboundRequest, Parsed, Verification
from providers.contract.responses import ProviderResponse
from providers.contract.session import ProviderSession
from providers.sidedrawer import responses, webhook
from providers.sidedrawer.auth import with_token
from providers.sidedrawer.event_types import EVENT_TYPES
from providers.sidedrawer.resources import resource_of
from providers.sidedrawer.schemas import SOCKET, SideDrawerConfig, SideDrawerCredentials, SideDrawerSettings

SideDrawerSession = ProviderSession[SideDrawerSettings, SideDrawerCredentials]
SideDrawerRegistration = Registration[SideDrawerConfig]

API_HOSTS = {"production": "https://api.sidedrawer.com", "sandbox": "https://api-sbx.sidedrawersbx.com"}
MAX_PAGES = 100
CLIENT = ("client_id", "client_secret")


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
        methods=("POST",),
        has_event_id=False,
        notes=(
            "The paths and the verb that manage webhooks: editable in the account's settings.",
            "Where SideDrawer gives no API for it, register by hand: choose `manual` for the subscription.",
            "Connection SOCKET: registered and kept alive here, but its events do not come over HTTP and never arrive.",
            "Which of any, create, update and delete some resources take: SideDrawer's refusal is shown.",
            "How long a webhook may live, and whether an update prolongs it: the granted expiry is always read back.",
            "How the hash is written: hex, base64 and base64url are accepted, and the form that matched is shown.",
            "The body of an event: its type is derived from the fields that are there; an encrypted one is kept whole.",
            "Whether a webhook has a status: without one it is taken to be on until it expires.",
        ),
    )
    event_types = EVENT_TYPES
    settings_model = SideDrawerSettings
    credentials_model = SideDrawerCredentials
    config_model = SideDrawerConfig
    secret_keys = frozenset({"integrityKey", "clientSecret", "access_token", "accessToken", "refresh_token"})
    manual_steps = (
        "Register a webhook at SideDrawer in the way they told you: with an API tool, a script, or their support.",
        "As `notificationUrl`, give the callback URL that is shown here; as `connectionType`, HTTP.",
        "As `integrityKey`, give the secret that is shown here: without it no hash is sent and events are refused.",
        "As `resource`, `modificationType`, `maxRetries` and so on, give what the config here says.",
        "As `expirationDateTime`, give a time as far ahead as SideDrawer takes.",
        "Renew it there before it ends: nothing is renewed from here.",
        "The subscription becomes active here when the first event arrives with a good hash.",
    )

    def origin(self, settings: SideDrawerSettings) -> str:
        """The API host of the environment."""
        return API_HOSTS[settings.environment]

    def merge_credentials(self, stored: Mapping[str, object], given: Mapping[str, object]) -> dict[str, object]:
        """Entering one way of logging in drops the other, because only one of them can be meant."""
        pasted, client = bool(given.get("access_token")), any(given.get(name) for name in CLIENT)
        dropped = {"access_token"} if client and not pasted else set(CLIENT) if pasted and not client else set()
        return {**{name: value for name, value in stored.items() if name not in dropped}, **given}

    def canonical(self, config: SideDrawerConfig) -> dict[str, object]:
        """What a webhook shows of it: all but the lifetime, which only says what expiry to ask for."""
        return config.model_dump(mode="json", exclude={"lifetime_days"})

    def warnings(self, config: SideDrawerConfig) -> tuple[str, ...]:
        """Connection SOCKET, and the resources whose ticks are not clear in SideDrawer's table."""
        found: list[str] = []
        if config.connection_type == SOCKET:
            found.append("Its events come over a socket connection, not over HTTP: none will arrive here.")
        resource = resource_of(config.resource)
        if resource and resource.doubt:
            found.append(f"{resource.doubt}: {config.modification_type} may be refused, or bring no events.")
        return tuple(found)

    # -- Calls ---------------------------------------------------------------------------------------------------

    def list_remote(self, session: SideDrawerSession) -> tuple[RemoteSubscription, ...]:
        """GET all webhooks, page by page."""
        start = url = self._collection(session)
        found: dict[str, RemoteSubscription] = {}
        seen: set[str] = set()
        while url not in seen and len(seen) < MAX_PAGES:
            seen.add(url)
            page = responses.read_page(self._call_collection(session, "GET", url).json())
            for item in page.items:
                remote = responses.read_webhook(item, session.settings)
                found.setdefault(remote.remote_id, remote)
            if page.next is None:
                return tuple(found.values())
            url = _next_address(start, page.next)
        raise InvalidResponse(f"SideDrawer's list of webhooks does not end after {len(seen)} pages.")

    def register(self, session: SideDrawerSession, registration: SideDrawerRegistration) -> RemoteSubscription:
        """POST the whole webhook. What is granted is what the answer shows, never what was asked for."""
        body = _body(session.settings, registration)
        answer = self._call_collection(session, "POST", self._collection(session), body)
        try:
            return responses.read_webhook(answer.json(), session.settings, secret=registration.secret)
        except InvalidResponse as error:
            # SideDrawer said yes, so there may be a new webhook whose id we could not read; the list tells.
            raise InvalidResponse(error.message, status=answer.status, outcome_unknown=True) from None

    def read_remote(self, session: SideDrawerSession, remote_id: str, secret: str | None = None) -> RemoteSubscription:
        """GET one webhook; where that call is not there, the list's entry."""
        try:
            answer = self._call(session, "GET", self._item(session, remote_id))
        except (NotFound, Unsupported):
            listed = self._listed(session, remote_id)
            if listed is None:
                raise _gone(remote_id) from None
            return listed
        return responses.read_webhook(answer.json(), session.settings, secret=secret, asked_for=remote_id)

    def update(
        self, session: SideDrawerSession, remote_id: str, registration: SideDrawerRegistration
    ) -> RemoteSubscription:
        """PUT the whole webhook with a new expiry, then read it: what the PUT itself answers is not published.
        `renew` is the same; whether the expiry moves is for the caller to see. Raises Unsupported where there is no
        such call."""
        body = _body(session.settings, registration)
        self._call_item(session, session.settings.update_verb, remote_id, body)
        return self.read_remote(session, remote_id, registration.secret)

    def delete(self, session: SideDrawerSession, remote_id: str) -> None:
        """DELETE one webhook."""
        self._call_item(session, "DELETE", remote_id)

    def _call(self, session: SideDrawerSession, method: str, url: str, body: object = None) -> ProviderResponse:
        def send(token: str) -> ProviderResponse:
            headers = {"Authorization": f"Bearer {token}"}
            return session.http.call(method, url, headers=headers, json_body=body, read_error=responses.read_error)

        return with_token(session, send)

    def _call_collection(
        self, session: SideDrawerSession, method: str, url: str, body: object = None
    ) -> ProviderResponse:
        try:
            return self._call(session, method, url, body)
        except (NotFound, Unsupported) as error:
            # No webhook was named, so it is the path that is not there. The account stays as unchecked as it was.
            raise InvalidResponse(
                f"SideDrawer answered {error.status} to {method} {urlsplit(url).path}: that path is not confirmed, and"
                " it is not there. Ask SideDrawer for the right ones and change the account's settings collection_path"
                " and item_path (and environment, if it is the wrong one), or register by hand (`manual`).",
                status=error.status,
            ) from None

    def _call_item(
        self, session: SideDrawerSession, method: str, remote_id: str, body: object = None
    ) -> ProviderResponse:
        url = self._item(session, remote_id)
        try:
            return self._call(session, method, url, body)
        except (NotFound, Unsupported) as error:
            if self._listed(session, remote_id) is None:
                raise _gone(remote_id) from None
            raise Unsupported(
                f"SideDrawer answered {error.status} to {method} {urlsplit(url).path}, although its list has this"
                " webhook: path or verb are not confirmed. If SideDrawer names others, change the account's settings"
                " item_path and update_verb.",
                status=error.status,
            ) from None

    def _listed(self, session: SideDrawerSession, remote_id: str) -> RemoteSubscription | None:
        return next((item for item in self.list_remote(session) if item.remote_id == remote_id), None)

    def _collection(self, session: SideDrawerSession) -> str:
        return self._address(session.settings, session.settings.collection_path)

    def _item(self, session: SideDrawerSession, remote_id: str) -> str:
        return self._address(session.settings, session.settings.item_path, id=remote_id)

    def _address(self, settings: SideDrawerSettings, template: str, **ids: str) -> str:
        for name, value in {"tenantId": settings.tenant_id, **ids}.items():
            template = template.replace(f"{{{name}}}", quote(value, safe=""))
        return self.api_origin(settings) + template

    # -- Inbound -------------------------------------------------------------------------------------------------

    def verify(self, request: InboundRequest, secrets: Sequence[str], settings: SideDrawerSettings) -> Verification:
        """The HMAC-SHA256 of the body in the header that the settings name."""
        return webhook.verify(
            request, secrets, header=settings.integrity_header, compact_too=settings.accept_compact_json
        )

    def sensitive_headers(self, settings: SideDrawerSettings) -> frozenset[str]:
        """The usual ones and the header with the hash, with which a request could be repeated."""
        return super().sensitive_headers(settings) | {settings.integrity_header.lower()}

    def parse(self, request: InboundRequest) -> Parsed:
        """An event, or a list of them, in whatever shape."""
        return webhook.parse(request)


def _body(settings: SideDrawerSettings, registration: SideDrawerRegistration) -> dict[str, object]:
    config = registration.config
    word = config.modification_type
    expires_at = datetime.now(UTC) + timedelta(days=config.lifetime_days)
    body: dict[str, object | None] = {
        "modificationType": word.capitalize() if settings.modification_type_case == "capitalised" else word,
        "connectionType": config.connection_type,
        # Only HTTP needs it, but its token is also what proves that a webhook is ours.
        "notificationUrl": registration.callback_url,
        "resource": config.resource,
        "expirationDateTime": expires_at.isoformat(timespec="seconds"),
        "brandCode": config.brand_code,
        "notificationMessages": config.notification_messages,
        "integrityKey": registration.secret,
        "maxRetries": config.max_retries,
    }
    return {name: value for name, value in body.items() if value is not None}


def _next_address(start: str, following: str) -> str:
    """Where the next page is: an address (of which only path and query count, so that the token stays with our host),
    a query, or a cursor for `startingAfter` (so named in SideDrawer's JavaScript SDK)."""
    if following.startswith("?"):
        return start + following
    if following.startswith(("http://", "https://", "/")):
        try:
            parts = urlsplit(following)
        except ValueError:
            raise InvalidResponse("In SideDrawer's answer `nextPage` is no address.") from None
        base = urlsplit(start)
        return base._replace(path=parts.path or base.path, query=parts.query).geturl()
    return f"{start}?{urlencode({'startingAfter': following})}"


def _gone(remote_id: str) -> NotFound:
    return NotFound(f"SideDrawer has no webhook {remote_id} (any more).", status=404)
