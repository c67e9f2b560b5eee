"""Test of API calls with malformed responses."""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.contract.errors import ProviderError, Refused
from providers.contract.http import Http
from providers.contract.responses import ProviderResponse
from providers.contract.schemas import validate
from providers.contract.session import ProviderSession
from providers.sandbox.server import Sandbox
from tests.harness.distorted_responses import CALLS, RecordingHttp, check_storable, distorted, replaying_session
from tests.harness.live_session import LOOPBACK, Live
from tests.harness.provider_contract.base import ContractBase
from tests.harness.stub_server import StubServer

ODD_ERROR_BODIES = (
    b"",
    b"plain",
    b"[]",
    b"null",
    b'{"errors": {"a": [[[[[["deep"]]]]]]}}',
    b'{"message": {"a": 1}, "errorMessage": {"a": 1}, "type": 7, "error": {}}',
    b"{" * 9999,
)


class OddResponseTests(ContractBase):
    """API calls with malformed responses."""

    def test_odd_responses_raise_only_provider_errors(self) -> None:
        recorded = self._recorded()

        @settings(deadline=None)  # the machine may be busy
        @given(st.data())
        def check(data: st.DataObject) -> None:
            name = data.draw(st.sampled_from(sorted(recorded)))
            remote_id, responses = recorded[name]
            login = replaying_session(self._plain_session(), data.draw(distorted(responses)))
            outcome: object = None
            try:
                outcome = CALLS[name](self.provider, login, remote_id, self.registration())
            except ProviderError as error:
                outcome = error
            check_storable(outcome)
            for exchange in login.http.exchanges:  # type: ignore[attr-defined]
                json.dumps(dataclasses.asdict(exchange), allow_nan=False)

        check()

    @pytest.mark.parametrize("body", ODD_ERROR_BODIES, ids=range(len(ODD_ERROR_BODIES)))
    def test_an_odd_error_body_is_a_refusal(self, body: bytes) -> None:
        with pytest.raises(Refused):
            self.provider.register(self._refusing_session(body), self.registration())

    def test_secrets_in_an_error_body_are_masked(self) -> None:
        registration = self.registration()
        secrets = [str(value) for value in (*self.credentials.values(), registration.secret) if value]
        for secret in secrets:
            text = f"authHeader '{secret}' is refused"
            body = json.dumps(dict.fromkeys(("message", "errorMessage", "title"), text)).encode()
            login = self._refusing_session(body)
            login.http.hide(secret)  # as the session of an account does
            with pytest.raises(Refused) as caught:
                self.provider.register(login, registration)
            assert "authHeader '***' is refused" in caught.value.message
            recorded = f"{caught.value} {caught.value.message} {login.http.exchanges}"  # type: ignore[attr-defined]
            assert secret not in recorded

    def _refusing_session(self, body: bytes) -> ProviderSession[Any, Any]:
        """Return a session whose registration is refused with this body."""
        _, responses = self._recorded()["register"]
        refusal = dataclasses.replace(responses[-1], status=self.refusal_status, body=body)
        return replaying_session(self._plain_session(), [*responses[:-1], refusal])

    def _plain_session(self) -> ProviderSession[Any, Any]:
        credentials = validate(self.provider.credentials_model, self.credentials)
        return ProviderSession(self.checked_settings(), credentials, Http(guard=LOOPBACK))

    @classmethod
    @cache
    def _recorded(cls) -> dict[str, tuple[str, list[ProviderResponse]]]:
        """Return the remote ID and the simulator's responses of each call that this provider has."""
        suite = cls()
        can = cls.provider.capabilities
        possible = {
            "list": can.can_list,
            "read": can.can_list or can.reveals_url,
            "update": can.can_update,
            "renew": can.can_update,
            "switch": can.can_set_status,
            "test": can.can_test,
        }
        recorded: dict[str, tuple[str, list[ProviderResponse]]] = {}
        with Sandbox(port=0) as sandbox, StubServer() as receiver:
            live = Live(cls.provider, sandbox)
            live.control("options", **cls.sandbox_options)
            registration = suite.registration(callback_url=f"{receiver.url}/hooks/t")
            remote_id = live.register(registration).remote_id
            for name, call in CALLS.items():
                if possible.get(name, True):
                    login = live.session_with()
                    http = RecordingHttp(guard=LOOPBACK)
                    call(cls.provider, dataclasses.replace(login, http=http), remote_id, registration)
                    recorded[name] = (remote_id, http.responses)
                    http.close()
            live.close()
        return recorded
