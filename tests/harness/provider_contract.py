"""What every provider plug-in must do. Each `providers/<folder>/tests.py` subclasses `ProviderContract`.

The first half needs nothing but the plug-in and its fixtures; the second talks HTTP to the plug-in's simulator. Tests
that a provider's declared capabilities rule out are left out of its run, never skipped.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import threading
import time
from abc import ABC
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlsplit

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from providers.contract.address_guard import AddressGuard
from providers.contract.base import AnyProvider, Provider, Registration, RemoteSubscription
from providers.contract.capabilities import Action, Capabilities, ExpirySetBy, Proof, Renewal, SecretMadeBy
from providers.contract.errors import (
    AuthenticationFailed,
    InvalidInput,
    InvalidResponse,
    NotFound,
    ProviderError,
    Throttled,
    Unavailable,
    UnreadableRequest,
)
from providers.contract.http import Exchange, Http
from providers.contract.parsing import InboundRequest, Parsed, VerificationResult
from providers.contract.registry import get_provider
from providers.contract.responses import ProviderResponse
from providers.contract.schemas import validate
from providers.contract.session import ProviderSession
from providers.sandbox.server import Sandbox
from tests.harness.odd_answers import CALLS, Recording, check_it_can_be_kept, told_login, twisted

CALLBACK_URL = "https://hooks.example.test/hooks/3q8Jt0yq"
RECEIVED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LOOPBACK = AddressGuard(networks=(ip_network("127.0.0.0/8"),))
MAX_KEY = 255

T = TypeVar("T", bound=Callable[..., None])


def inbound(
    body: bytes = b"",
    *,
    method: str = "POST",
    query: str = "",
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),),
    url: str = CALLBACK_URL,
) -> InboundRequest:
    """A request as the receiver hands it to a plug-in."""
    return InboundRequest(method=method, url=url, query=query, headers=headers, body=body, received_at=RECEIVED_AT)


def normalised(parsed: Parsed) -> dict[str, object]:
    """What was parsed as JSON, as in `fixtures/<name>.expected.json`; without `data`, which is the fixture itself."""
    return {
        "events": [
            {
                "type": event.type,
                "action": event.action.value,
                "dedup_key": event.dedup_key,
                "provider_event_id": event.provider_event_id,
                "resource_type": event.resource_type,
                "resource": event.resource,
                "actor": event.actor,
                "occurred_at": event.occurred_at.isoformat() if event.occurred_at else None,
            }
            for event in parsed.events
        ],
        "unreadable": [{"index": item.index, "reason": item.reason} for item in parsed.unreadable],
        "ping": parsed.ping,
    }


# -- A server that says what it is told to say ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scripted:
    """One answer of a StubServer."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Scripted:
        """An answer with a JSON body."""
        return cls(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})


@dataclass(frozen=True, slots=True)
class Received:
    """One call to a StubServer."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """A header's value, or None."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class StubServer(AbstractContextManager["StubServer"]):
    """An HTTP server on a free loopback port: gives the scripted answers in turn, then empty 200s."""

    def __init__(self) -> None:
        self.answers: deque[Scripted] = deque()
        self.received: list[Received] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> StubServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def say(self, *answers: Scripted) -> None:
        """Queues answers."""
        self.answers.extend(answers)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                stub.received.append(Received(self.command, self.path, tuple(self.headers.items()), body))
                answer = stub.answers.popleft() if stub.answers else Scripted()
                try:
                    self.send_response(answer.status)
                    for name, value in answer.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(answer.body)))
                    self.end_headers()
                    self.wfile.write(answer.body)
                except ConnectionError:
                    self.close_connection = True  # the caller has read enough

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        return Handler


# -- Leaving out what a provider cannot do -------------------------------------------------------------------------


def needs(condition: Callable[[Capabilities], bool]) -> Callable[[T], T]:
    """Marks a test that only makes sense for some capabilities."""

    def mark(test: T) -> T:
        vars(test)["needs"] = condition
        return test

    return mark


# -- The suite -----------------------------------------------------------------------------------------------------


class ProviderContract(ABC):
    """Subclass it as `Test...` beside the plug-in and fill in the first block."""

    # -- A subclass declares these -------------------------------------------------------------------------------

    provider: ClassVar[AnyProvider]
    fixtures: ClassVar[Path]
    settings: ClassVar[Mapping[str, object]]
    credentials: ClassVar[Mapping[str, object]]
    config: ClassVar[Mapping[str, object]]
    other_config: ClassVar[Mapping[str, object]]  # differs from `config` in what an update can change
    everything: ClassVar[Mapping[str, object]]  # a config that gets every event type
    sandbox_options: ClassVar[Mapping[str, object]] = {}  # to keep the simulator's throttle out of the way

    # -- and may refine these ------------------------------------------------------------------------------------

    def fixture_request(self, path: Path) -> InboundRequest:
        """The request that a fixture stands for: a POST of the file, unless the provider does it another way."""
        return inbound(path.read_bytes())

    def signed(self, request: InboundRequest, secret: str) -> InboundRequest:
        """The request with the provider's proof: the hinted header, unless the provider does it another way."""
        hint = self.provider.secret_hint(self.checked_settings(), secret)
        assert hint.header
        assert hint.value
        return dataclasses.replace(request, headers=(*request.headers, (hint.header, hint.value)))

    def config_for(self, event_type: str) -> Mapping[str, object]:
        """A config that gets this event type, where no single one gets them all."""
        return self.everything

    @classmethod
    def fixture_name(cls, event_type: str) -> str:
        """The name of the fixture that every event type must have."""
        return event_type.replace(":", "__")

    # -- What a subclass should not need to touch ----------------------------------------------------------------

    def __init_subclass__(cls) -> None:
        """Takes away the tests that this provider's capabilities rule out."""
        super().__init_subclass__()
        for name, member in vars(ProviderContract).items():
            condition = getattr(member, "needs", None)
            if condition and not condition(cls.provider.capabilities):
                setattr(cls, name, None)

    @classmethod
    def payloads(cls) -> list[Path]:
        """All fixtures, without what is expected of them."""
        return sorted(path for path in cls.fixtures.iterdir() if not path.name.endswith(".expected.json"))

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Makes one test per fixture, per event type and per kind of trouble."""
        if "payload" in metafunc.fixturenames:
            metafunc.parametrize("payload", self.payloads(), ids=lambda path: path.stem)
        if "event_type" in metafunc.fixturenames:
            single = [item.name for item in self.provider.event_types if not item.wildcard]
            metafunc.parametrize("event_type", single)

    def checked_settings(self, **changes: object) -> Any:
        """The settings model."""
        return validate(self.provider.settings_model, {**self.settings, **changes})

    def checked_config(self, config: Mapping[str, object] | None = None) -> Any:
        """The config model."""
        return validate(self.provider.config_model, self.config if config is None else config)

    def registration(self, **changes: Any) -> Registration[Any]:
        """What is registered in the tests."""
        made_by_us = self.provider.capabilities.secret_made_by is SecretMadeBy.US
        values: dict[str, Any] = {
            "callback_url": CALLBACK_URL,
            "config": self.checked_config(),
            "secret": self.provider.new_secret() if made_by_us else None,
            "name": "Contract suite",
        }
        return Registration(**{**values, **changes})

    # -- Declarations --------------------------------------------------------------------------------------------

    def test_the_registry_finds_it_in_its_folder(self) -> None:
        assert get_provider(self.provider.slug) is self.provider
        assert type(self.provider).__module__ == f"providers.{self.provider.slug.replace('-', '_')}.provider"
        assert self.provider.name.strip()

    def test_every_field_has_a_title_a_description_and_examples(self) -> None:
        for model in self._models():
            for name, info in model.model_fields.items():
                where = f"{model.__name__}.{name}"
                assert info.title, where
                assert info.description, where
                assert info.examples, where

    def test_examples_are_valid(self) -> None:
        required = (self.settings, self.credentials, self.config)
        for model, values in zip(self._models(), required, strict=True):
            for name, info in model.model_fields.items():
                for example in info.examples or ():
                    assert validate(model, {**values, name: example}), f"{model.__name__}.{name}"

    def test_schemas_are_json(self) -> None:
        for model in self._models():
            schema = json.loads(json.dumps(model.model_json_schema()))
            assert schema["additionalProperties"] is False
            assert set(schema["properties"]) == set(model.model_fields)

    def test_unknown_fields_are_refused_by_name(self) -> None:
        for model, values in zip(self._models(), (self.settings, self.credentials, self.config), strict=True):
            with pytest.raises(InvalidInput) as caught:
                validate(model, {**values, "no_such_field": 1})
            assert [error.field for error in caught.value.errors] == ["no_such_field"]

    def test_required_fields_are_missed_by_name(self) -> None:
        for model in self._models():
            required = {name for name, info in model.model_fields.items() if info.is_required()}
            if required:
                with pytest.raises(InvalidInput) as caught:
                    validate(model, {})
                assert {error.field for error in caught.value.errors if error.code == "required"} == required

    def test_credentials_do_not_show(self) -> None:
        credentials = validate(self.provider.credentials_model, self.credentials)
        assert set(credentials.secret_values()) == {str(value) for value in self.credentials.values()}
        for secret in credentials.secret_values():
            assert secret not in f"{credentials!r} {credentials}"

    def test_the_base_url_replaces_the_origin(self) -> None:
        base_url = "http://127.0.0.1:8010"
        assert self.provider.api_origin(self.checked_settings(base_url=base_url)) == base_url
        own = self.provider.api_origin(self.checked_settings())
        assert own.startswith("https://")
        assert own.count("/") == 2

    def test_capabilities_agree_with_each_other(self) -> None:
        can = self.provider.capabilities
        assert set(can.methods) <= {"GET", "POST"}
        assert can.methods
        assert 200 in can.success_statuses
        assert (can.renewal is Renewal.NONE) == (can.expiry_set_by is ExpirySetBy.NOBODY)
        assert (can.proof is Proof.URL) == (can.secret_made_by is SecretMadeBy.NOBODY)
        assert can.can_list or not can.list_has_details
        assert can.can_update or can.renewal is not Renewal.UPDATE
        assert set(can.immutable_fields) <= set(self.provider.config_model.model_fields)
        assert can.answer_within > 0

    def test_capabilities_agree_with_the_code(self) -> None:
        can = self.provider.capabilities
        written = {
            "list_remote": can.can_list,
            "read_remote": can.can_list or can.reveals_url,
            "update": can.can_update,
            "set_enabled": can.can_set_status,
            "test": can.can_test,
            "identify": can.can_identify,
        }
        for method, declared in written.items():
            overridden = getattr(type(self.provider), method) is not getattr(Provider, method)
            assert overridden == declared, method

    def test_event_types_are_complete(self) -> None:
        names = [item.name for item in self.provider.event_types]
        assert len(names) == len(set(names))
        for item in self.provider.event_types:
            assert item.action in set(Action), item.name
            assert item.group.strip(), item.name
            assert item.label.strip(), item.name
            assert item.wildcard == ("*" in item.name), item.name
        labels = [item.label for item in self.provider.event_types]
        assert len(labels) == len(set(labels))

    def test_the_canonical_config_is_valid_and_stays_as_it_is(self) -> None:
        for config in (self.config, self.other_config):
            canonical = self.provider.canonical(self.checked_config(config))
            assert json.loads(json.dumps(canonical)) == canonical
            assert self.provider.canonical(self.checked_config(canonical)) == canonical

    def _models(self) -> tuple[type[BaseModel], type[BaseModel], type[BaseModel]]:
        return (self.provider.settings_model, self.provider.credentials_model, self.provider.config_model)

    # -- Parsing -------------------------------------------------------------------------------------------------

    def test_every_event_type_has_a_fixture(self, event_type: str) -> None:
        named = [path for path in self.payloads() if path.stem == self.fixture_name(event_type)]
        assert named, f"fixtures/{self.fixture_name(event_type)} is missing"
        events = [event for path in named for event in self.provider.parse(self.fixture_request(path)).events]
        declared = self.provider.event_type(event_type)
        assert declared
        assert [event.action for event in events if event.type == event_type] == [declared.action]

    def test_a_fixture_is_normalised_as_expected(self, payload: Path) -> None:
        expected = json.loads(payload.with_suffix(".expected.json").read_text("utf-8"))
        assert normalised(self.provider.parse(self.fixture_request(payload))) == expected

    def test_what_is_parsed_can_be_stored(self, payload: Path) -> None:
        for event in self.provider.parse(self.fixture_request(payload)).events:
            assert json.loads(json.dumps(event.data, allow_nan=False)) == event.data
            assert event.occurred_at is None or event.occurred_at.utcoffset() == timedelta()
            assert 0 < len(event.dedup_key) <= MAX_KEY

    def test_an_event_id_is_there_where_it_is_promised(self, event_type: str) -> None:
        path = next(path for path in self.payloads() if path.stem == self.fixture_name(event_type))
        for event in self.provider.parse(self.fixture_request(path)).events:
            assert bool(event.provider_event_id) == self.provider.capabilities.has_event_id

    def test_dedup_keys_are_stable_and_distinct(self) -> None:
        def keys() -> list[str]:
            parsed = [self.provider.parse(self.fixture_request(path)) for path in self.payloads()]
            return [event.dedup_key for item in parsed for event in item.events]

        assert keys() == keys()
        assert len(keys()) == len(set(keys()))

    def test_an_empty_body_is_never_an_event(self) -> None:
        for method in self.provider.capabilities.methods:
            assert self.provider.parse(inbound(method=method)).events == ()

    def test_rubbish_is_unreadable_and_nothing_worse(self) -> None:
        for body in (b"\xff\xfe\x00", b"{", b"[" * 100_000, b'{"a": NaN}', b"<xml/>", b"\x00" * 1000):
            with suppress(UnreadableRequest):
                assert self.provider.parse(inbound(body)).events == ()

    # -- Verification --------------------------------------------------------------------------------------------

    def test_a_request_with_the_proof_is_verified(self) -> None:
        secret = self.secret()
        found = self.provider.verify(self.signed(inbound(b"[]"), secret), [secret], self.checked_settings())
        assert (found.result, found.secret_index) == self.expected_proof(0)
        assert found.detail

    def test_every_accepted_secret_verifies_during_a_rotation(self) -> None:
        old, new = self.secret(), self.secret()
        found = self.provider.verify(self.signed(inbound(b"[]"), old), [new, old], self.checked_settings())
        assert (found.result, found.secret_index) == self.expected_proof(1)

    def test_a_wrong_proof_fails(self) -> None:
        request = self.signed(inbound(b"[]"), self.secret())
        found = self.provider.verify(request, [self.secret()], self.checked_settings())
        assert found.result is self.refusal()
        assert found.secret_index is None

    def test_a_missing_proof_fails(self) -> None:
        for secrets in ([self.secret()], [], [""]):
            found = self.provider.verify(inbound(b"[]"), secrets, self.checked_settings())
            assert found.result is self.refusal()
            assert found.detail

    def test_verification_never_raises_and_never_tells_the_secret(self) -> None:
        secret = self.secret()
        values = ("", " ", "\x00", "\ud800", "ü" * 5000, "Bearer", "sig=:AAAA:", secret[:-1], secret + "x")
        for name in ("Authorization", "Signature", "Content-Digest", "X-Odd", ""):
            for value in values:
                request = inbound(b"\xff", headers=((name, value),) * 2)
                found = self.provider.verify(request, [secret], self.checked_settings())
                assert found.result is self.refusal()
                assert secret not in found.detail

    def test_headers_that_prove_are_named(self) -> None:
        secret = self.secret()
        request = self.signed(inbound(b"[]"), secret)
        found = self.provider.verify(request, [secret], self.checked_settings())
        carrying = {name for name, value in request.headers if secret in value}
        assert carrying <= set(found.proof_headers)

    def test_the_hinted_header_is_treated_as_sensitive(self) -> None:
        settings = self.checked_settings()
        hint = self.provider.secret_hint(settings, "value")
        assert hint.kind is self.provider.capabilities.proof
        sensitive = self.provider.sensitive_headers(settings)
        assert all(name == name.lower() for name in sensitive)
        assert hint.header is None or hint.header.lower() in sensitive

    def test_the_hint_passes_verification(self) -> None:
        hint = self.provider.secret_hint(self.checked_settings(), secret := self.secret())
        assert (hint.header is not None) == (hint.kind is Proof.HEADER)
        if hint.header is not None:
            request = inbound(b"[]", headers=((hint.header, str(hint.value)),))
            found = self.provider.verify(request, [secret], self.checked_settings())
            assert found.result is VerificationResult.VERIFIED

    def test_new_secrets_differ_and_fit_into_a_header(self) -> None:
        secrets = {self.provider.new_secret() for _ in range(20)}
        assert len(secrets) == 20
        assert all(len(secret) >= 32 and secret.isascii() and secret.isprintable() for secret in secrets)
        assert all(secret == secret.strip() for secret in secrets)

    def secret(self) -> str:
        """A secret as this provider uses them, whoever makes them."""
        return self.provider.new_secret()

    def expected_proof(self, index: int) -> tuple[VerificationResult, int | None]:
        """What a good request gives: nothing to verify where only the URL is secret."""
        if self.provider.capabilities.proof is Proof.URL:
            return VerificationResult.NOT_VERIFIABLE, None
        return VerificationResult.VERIFIED, index

    def refusal(self) -> VerificationResult:
        """What a bad request gives."""
        if self.provider.capabilities.proof is Proof.URL:
            return VerificationResult.NOT_VERIFIABLE
        return VerificationResult.FAILED

    # -- Whatever the API answers --------------------------------------------------------------------------------

    def test_only_declared_errors_come_out_of_odd_answers(self) -> None:
        recorded = self._recorded()

        @settings(deadline=None)  # what else the machine does is not their fault
        @given(st.data())
        def check(data: st.DataObject) -> None:
            name = data.draw(st.sampled_from(sorted(recorded)))
            remote_id, answers = recorded[name]
            login = told_login(self._plain_login(), data.draw(twisted(answers)))
            outcome: object = None
            try:
                outcome = CALLS[name](self.provider, login, remote_id, self.registration())
            except ProviderError as error:
                outcome = error
            check_it_can_be_kept(outcome)
            for exchange in login.http.kept:  # type: ignore[attr-defined]
                json.dumps(dataclasses.asdict(exchange), allow_nan=False)

        check()

    def _plain_login(self) -> ProviderSession[Any, Any]:
        credentials = validate(self.provider.credentials_model, self.credentials)
        return ProviderSession(self.checked_settings(), credentials, Http(guard=LOOPBACK))

    def _recorded(self) -> dict[str, tuple[str, list[ProviderResponse]]]:
        """Of each call that this provider has: about which id it was, and what its simulator answered."""
        can = self.provider.capabilities
        possible = {
            "list": can.can_list,
            "read": can.can_list or can.reveals_url,
            "update": can.can_update,
            "renew": can.can_update,
            "switch": can.can_set_status,
            "test": can.can_test,
        }
        found: dict[str, tuple[str, list[ProviderResponse]]] = {}
        with Sandbox(port=0) as sandbox, StubServer() as receiver:
            live = Live(self.provider, sandbox)
            live.control("options", **self.sandbox_options)
            registration = self.registration(callback_url=f"{receiver.url}/hooks/t")
            remote_id = live.register(registration).remote_id
            for name, call in CALLS.items():
                if possible.get(name, True):
                    login = live.session_with()
                    http = Recording(guard=LOOPBACK)
                    call(self.provider, dataclasses.replace(login, http=http), remote_id, registration)
                    found[name] = (remote_id, http.answers)
                    http.close()
            live.close()
        return found

    # -- Live, against the simulator -----------------------------------------------------------------------------

    @pytest.fixture
    def live(self) -> Iterator[Live]:
        """A sandbox of its own with one login. At the end nothing that was recorded may hold a secret."""
        with Sandbox(port=0) as sandbox:
            live = Live(self.provider, sandbox)
            live.control("options", **self.sandbox_options)
            yield live
            live.close()
        recorded = repr(live.exchanges)
        assert [secret for secret in live.secrets if secret in recorded] == []

    @needs(lambda can: can.can_identify)
    def test_live_it_tells_whose_credentials_these_are(self, live: Live) -> None:
        identity = self.provider.identify(live.session)
        assert identity.facts
        assert json.loads(json.dumps(identity.facts)) == identity.facts
        assert identity.warning is None

    def test_live_wrong_credentials_are_refused(self, live: Live) -> None:
        wrong = {name: f"wrong-{value}" for name, value in live.account["credentials"].items()}
        with pytest.raises(AuthenticationFailed):
            self.provider.identify(live.session_with(credentials=wrong))

    @needs(lambda can: can.can_list)
    def test_live_a_registration_is_listed(self, live: Live) -> None:
        first, second = live.register(self.registration()), live.register(self.registration())
        assert {item.remote_id for item in self.provider.list_remote(live.session)} == {
            first.remote_id,
            second.remote_id,
        }
        assert first.enabled

    @needs(lambda can: can.can_list and can.reveals_url)
    def test_live_a_registration_can_be_read_back(self, live: Live) -> None:
        registration = self.registration()
        remote_id = live.register(registration).remote_id
        self.expect(self.provider.read_remote(live.session, remote_id, registration.secret), registration)

    @needs(lambda can: can.can_update)
    def test_live_an_update_changes_everything_in_place(self, live: Live) -> None:
        remote_id = live.register(self.registration()).remote_id
        changed = self.registration(config=self.checked_config(self.other_config), callback_url=f"{CALLBACK_URL}-2")
        self.expect(self.provider.update(live.session, remote_id, changed), changed)
        self.expect(self.provider.read_remote(live.session, remote_id, changed.secret), changed)

    @needs(lambda can: can.can_update and can.can_set_status)
    def test_live_an_update_also_sets_the_status(self, live: Live) -> None:
        registration = self.registration(enabled=False)
        remote_id = live.register(self.registration()).remote_id
        self.expect(self.provider.update(live.session, remote_id, registration), registration)

    @needs(lambda can: can.can_set_status)
    def test_live_it_can_be_switched_off_and_on(self, live: Live) -> None:
        registration = self.registration()
        remote_id = live.register(registration).remote_id
        for enabled in (False, False, True):
            assert self.provider.set_enabled(live.session, remote_id, enabled).enabled is enabled
            self.expect(
                self.provider.read_remote(live.session, remote_id), dataclasses.replace(registration, enabled=enabled)
            )

    @needs(lambda can: can.renewal is Renewal.UPDATE)
    def test_live_a_renewal_moves_the_expiry(self, live: Live) -> None:
        registration = self.registration()
        remote_id = live.register(registration).remote_id
        live.control("clock", advance_seconds=30)
        before = self.provider.read_remote(live.session, remote_id)
        renewed = self.provider.renew(live.session, remote_id, registration)
        assert before.expires_at
        assert renewed.expires_at
        assert renewed.expires_at - before.expires_at >= timedelta(seconds=29)
        self.expect(renewed, registration)

    def test_live_what_is_deleted_is_not_found(self, live: Live) -> None:
        remote_id = live.register(self.registration()).remote_id
        self.provider.delete(live.session, remote_id)
        for call in self.calls_about(live, remote_id):
            with pytest.raises(NotFound):
                call()

    def test_live_strange_ids_are_not_found(self, live: Live) -> None:
        for remote_id in ("no-such-id", "a/b", "ü?x=1#y", "%2e%2e"):
            for call in self.calls_about(live, remote_id):
                with pytest.raises(NotFound):
                    call()

    def test_live_throttling_says_for_how_long(self, live: Live) -> None:
        live.control("faults", status=429, retry_after=7, times=1)
        with pytest.raises(Throttled) as caught:
            live.register(self.registration())
        assert caught.value.retry_after == 7
        assert not caught.value.permanent

    @pytest.mark.parametrize("status", [500, 502, 503])
    def test_live_their_trouble_is_temporary(self, live: Live, status: int) -> None:
        live.control("faults", status=status, times=1)
        with pytest.raises(Unavailable) as caught:
            live.register(self.registration())
        assert caught.value.outcome_unknown
        assert not caught.value.permanent

    @pytest.mark.parametrize("fault", [{"timeout": 3}, {"drop": True}], ids=["timeout", "drop"])
    def test_live_no_answer_leaves_the_outcome_unknown(self, live: Live, fault: dict[str, object]) -> None:
        live.control("faults", **fault, times=1)
        with pytest.raises(Unavailable) as caught:
            self.provider.register(live.session_with(seconds=0.5), self.registration())
        assert caught.value.outcome_unknown
        assert len(live.state()["remote"]) == 1

    @pytest.mark.parametrize("fault", ["garbage", "huge"])
    def test_live_an_absurd_answer_leaves_the_outcome_unknown(self, live: Live, fault: str) -> None:
        live.control("faults", **{fault: True}, times=1)
        with pytest.raises(InvalidResponse) as caught:
            live.register(self.registration())
        assert caught.value.outcome_unknown
        assert len(live.state()["remote"]) == 1

    def test_live_a_redirect_is_not_followed(self, live: Live) -> None:
        live.control("faults", redirect=True, times=1)
        with pytest.raises(InvalidResponse):
            live.register(self.registration())
        assert live.state()["remote"] == []

    def test_live_their_webhooks_are_verified_and_understood(self, live: Live, event_type: str) -> None:
        with StubServer() as receiver:
            registration = self.registration(
                callback_url=f"{receiver.url}/hooks/t", config=self.checked_config(self.config_for(event_type))
            )
            secret = live.register(registration).new_secret or registration.secret
            live.control("emit", event_type=event_type, count=2)
            live.control("emit", event_type=event_type, bad_signature=True)
            *good, bad = [
                inbound(
                    call.body,
                    method=call.method,
                    query=urlsplit(call.path).query,
                    headers=call.headers,
                    url=registration.callback_url,
                )
                for call in receiver.received
            ]
        secrets = [secret] if secret else []
        settings = live.session.settings
        assert {self.provider.verify(request, secrets, settings).result for request in good} == {
            self.expected_proof(0)[0]
        }
        assert self.provider.verify(bad, secrets, settings).result is self.refusal()
        events = [event for request in good for event in self.provider.parse(request).events]
        declared = self.provider.event_type(event_type)
        assert declared
        assert [(event.type, event.action) for event in events] == [(event_type, declared.action)] * 2

    def calls_about(self, live: Live, remote_id: str) -> list[Callable[[], object]]:
        """Every call that this provider has about one remote subscription."""
        can, registration = self.provider.capabilities, self.registration()
        calls: list[tuple[bool, Callable[[], object]]] = [
            (can.can_list or can.reveals_url, lambda: self.provider.read_remote(live.session, remote_id)),
            (can.can_update, lambda: self.provider.update(live.session, remote_id, registration)),
            (can.can_update, lambda: self.provider.renew(live.session, remote_id, registration)),
            (can.can_set_status, lambda: self.provider.set_enabled(live.session, remote_id, True)),
            (True, lambda: self.provider.delete(live.session, remote_id)),
        ]
        return [call for possible, call in calls if possible]

    def expect(self, remote: RemoteSubscription, registration: Registration[Any]) -> None:
        """Compares what was read back with what was asked for."""
        assert remote.url == registration.callback_url
        assert remote.config == self.provider.canonical(registration.config)
        assert remote.enabled == registration.enabled
        assert remote.secret_matches is not False
        assert remote.new_secret is None
        leased = self.provider.capabilities.renewal is not Renewal.NONE
        assert remote.expires_at is None or (leased and remote.expires_at.utcoffset() == timedelta())


class Live:
    """One login at a provider's simulator, with everything recorded that was said."""

    def __init__(self, provider: AnyProvider, sandbox: Sandbox) -> None:
        self.provider = provider
        self.sandbox = sandbox
        self.account: Mapping[str, Any] = sandbox.logins(provider.slug)[0]
        self.exchanges: list[Exchange] = []
        self.secrets: set[str] = set()
        self._open: list[Http] = []
        self.session = self.session_with()

    def session_with(
        self, *, credentials: Mapping[str, object] | None = None, seconds: float | None = None
    ) -> ProviderSession[Any, Any]:
        """A login; with other credentials, or with only so many seconds for its calls."""
        checked = validate(self.provider.credentials_model, credentials or self.account["credentials"])
        self.secrets.update(checked.secret_values())
        # The subscription's secret is not among the secrets to mask: `secret_keys` must be enough for that one.
        http = Http(
            guard=LOOPBACK,
            secrets=checked.secret_values(),
            secret_keys=self.provider.secret_keys,
            deadline=None if seconds is None else time.monotonic() + seconds,
            record=self.exchanges.append,
        )
        self._open.append(http)
        return ProviderSession(validate(self.provider.settings_model, self.account["settings"]), checked, http)

    def close(self) -> None:
        """Closes all connections."""
        for http in self._open:
            http.close()

    def register(self, registration: Registration[Any]) -> RemoteSubscription:
        """Registers and remembers the secret."""
        if registration.secret:
            self.secrets.add(registration.secret)
        remote = self.provider.register(self.session, registration)
        if remote.new_secret:
            self.secrets.add(remote.new_secret)
        return remote

    def control(self, what: str, **values: object) -> Any:
        """A control call of the sandbox."""
        answer = requests.post(f"{self.sandbox.url}/_sandbox/{self.provider.slug}/{what}", json=values, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def state(self) -> Any:
        """What the simulator has and saw."""
        return requests.get(f"{self.sandbox.url}/_sandbox/{self.provider.slug}/state", timeout=30).json()


def contract_of(slug: str) -> type[ProviderContract]:
    """The plug-in's own tests know configs that its simulator takes."""
    module = importlib.import_module(f"providers.{slug.replace('-', '_')}.tests.test_contract")
    return next(
        item
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, ProviderContract) and item is not ProviderContract
    )
