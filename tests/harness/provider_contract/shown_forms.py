"""Tests that what the provider writes differently is not a difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest

from providers.contract.base import Registration, RemoteSubscription
from subscriptions.planning.config_diff import config_changes
from subscriptions.planning.states import DesiredState
from subscriptions.planning.steps import Change
from tests.harness.live_session import Live
from tests.harness.provider_contract.base import needs
from tests.harness.provider_contract.live import LiveTests

FORMS: Sequence[Mapping[str, object]] = [
    *({"shown_url": form} for form in ("final slash", "upper case", "default port")),
    *({"shown_status": word} for word in ("Active", "ENABLED", "enabled")),
    *({"secret_mask": mask} for mask in ("xxxxxxxx", "[REDACTED]", "****", "Bearer \u2022\u2022\u2022\u2022")),
    *({"shown_text": form} for form in ("NFC", "NFD")),
]


class ShownFormTests(LiveTests):
    """The simulator shows a webhook in another form than it was sent."""

    optional_fields: ClassVar[tuple[str, ...]] = ()  # fields that a response about a webhook may lack

    def changes(self, remote: RemoteSubscription, registration: Registration[Any]) -> tuple[Change, ...]:
        """Return the differences that the core would see."""
        desired = DesiredState(
            present=True,
            enabled=True,
            auto_renew=True,
            by_api=True,
            callback_url=registration.callback_url,
            config=self.provider.canonical(registration.config),
            case_insensitive_fields=self.provider.capabilities.case_insensitive_fields,
        )
        return config_changes(desired, remote)

    @needs(lambda can: can.can_list and can.reveals_url)
    @pytest.mark.parametrize("form", FORMS, ids=str)
    def test_live_another_form_is_no_difference(self, live: Live, form: Mapping[str, object]) -> None:
        registration = self.registration()
        remote_id = live.register(registration).remote_id
        live.control("options", **form)
        remote = self.provider.read_remote(live.session, remote_id, registration.secret)
        assert (self.changes(remote, registration), remote.enabled) == ((), True)
        assert [self.changes(item, registration) for item in self.provider.list_remote(live.session)] == [()]

    @needs(lambda can: can.can_list and can.reveals_url)
    def test_live_a_field_that_is_left_out_is_no_difference(self, live: Live) -> None:
        registration = self.registration(config=self.checked_config(self.other_config))
        remote_id = live.register(registration).remote_id
        for name in self.optional_fields:
            live.control("options", left_out=[name])
            remote = self.provider.read_remote(live.session, remote_id, registration.secret)
            assert (name, self.changes(remote, registration), remote.enabled) == (name, (), True)
