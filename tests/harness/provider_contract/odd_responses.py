"""Test of API calls with malformed responses."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from providers.contract.errors import (
    ProviderError,
)
from providers.contract.http import Http
from providers.contract.responses import ProviderResponse
from providers.contract.schemas import validate
from providers.contract.session import ProviderSession
from providers.sandbox.server import Sandbox
from tests.harness.distorted_responses import CALLS, RecordingHttp, check_storable, distorted, replaying_session
from tests.harness.live_session import LOOPBACK, Live
from tests.harness.provider_contract.base import ContractBase
from tests.harness.stub_server import StubServer


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

    def _plain_session(self) -> ProviderSession[Any, Any]:
        credentials = validate(self.provider.credentials_model, self.credentials)
        return ProviderSession(self.checked_settings(), credentials, Http(guard=LOOPBACK))

    def _recorded(self) -> dict[str, tuple[str, list[ProviderResponse]]]:
        """Return the remote ID and the simulator's responses of each call that this provider has."""
        can = self.provider.capabilities
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
            live = Live(self.provider, sandbox)
            live.control("options", **self.sandbox_options)
            registration = self.registration(callback_url=f"{receiver.url}/hooks/t")
            remote_id = live.register(registration).remote_id
            for name, call in CALLS.items():
                if possible.get(name, True):
                    login = live.session_with()
                    http = RecordingHttp(guard=LOOPBACK)
                    call(self.provider, dataclasses.replace(login, http=http), remote_id, registration)
                    recorded[name] = (remote_id, http.responses)
                    http.close()
            live.close()
        return recorded
