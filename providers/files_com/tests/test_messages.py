"""Files.com: messages in every format, from the sandbox."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest
import requests

from providers.contract.base import Registration
from providers.contract.capabilities import Action
from providers.contract.parsing import InboundRequest, VerificationResult
from providers.contract.schemas import validate
from providers.files_com import provider
from providers.files_com.schemas import FilesComConfig
from providers.files_com.simulator import FilesComSimulator
from providers.files_com.tests.samples import (
    FORM,
    TOKEN,
    received_request,
)
from providers.sandbox.server import Sandbox
from providers.sandbox.webhook_sender import WebhookSender
from tests.harness.live_session import Live
from tests.harness.stub_server import Scripted, StubServer

FORMATS: tuple[dict[str, object], ...] = (
    {},
    {"method": "POST"},
    {"method": "POST", "encoding": "RAW"},
    {"method": "POST", "encoding": "JSON"},
    {"method": "POST", "encoding": "XML"},
    {"method": "POST", "file_form_field": "file"},
    {"method": "GET", "encoding": "JSON"},
)


class Site:
    """A webhook at a simulator that sends events only on request to a stub."""

    def __init__(self, live: Live, receiver: StubServer) -> None:
        self.live, self.receiver = live, receiver
        self.secret = provider.new_secret()

    def register(self, **config: object) -> str:
        registration = Registration(
            callback_url=f"{self.receiver.url}/hooks/t",
            config=validate(FilesComConfig, {"path": "/", **config}),
            secret=self.secret,
        )
        return self.live.register(registration).remote_id

    def emit(self, **options: object) -> list[InboundRequest]:
        """Emit events and return the requests that the stub receives."""
        before = len(self.receiver.received)
        self.live.control("emit", **options)
        return [received_request(call) for call in self.receiver.received[before:]]


class TestMessageFormats:
    @pytest.fixture
    def site(self) -> Iterator[Site]:
        with Sandbox(port=0, seed=4, retry_delays=[]) as sandbox, StubServer() as receiver:
            live = Live(provider, sandbox)
            yield Site(live, receiver)
            live.close()

    @pytest.mark.parametrize("body_encoding", ["byte-order-mark", "two-byte-order-marks", "utf-16"])
    def test_bodies_may_have_any_unicode_encoding(self, site: Site, body_encoding: str) -> None:
        for encoding in ("RAW", "JSON", "XML", "EV2"):
            remote_id = site.register(method="POST", encoding=encoding)
            site.live.control("options", body_encoding=body_encoding)
            (request,) = site.emit(event_type="move", remote_id=remote_id)
            (event,) = provider.parse(request).events
            assert event.action is Action.MOVED, encoding
            assert event.resource
            assert event.previous_resource

    @pytest.mark.parametrize("format_config", FORMATS, ids=str)
    def test_half_a_character_makes_no_message_unreadable(self, site: Site, format_config: dict[str, object]) -> None:
        site.register(**format_config)
        site.live.control("options", odd_event="half_character")
        (request,) = site.emit(event_type="create")
        assert [event.type for event in provider.parse(request).events] == ["create"]

    @pytest.mark.parametrize("format_config", FORMATS, ids=str)
    def test_every_format_gives_the_same_event(self, site: Site, format_config: dict[str, object]) -> None:
        site.register(**format_config, body={"department": "finance & co"})
        requests_ = [request for action in ("create", "move", "permission_create")
                     for request in site.emit(event_type=action, count=3)]  # fmt: skip
        assert len(requests_) == 9
        for request in requests_:
            verification = provider.verify(request, [site.secret], site.live.session.settings)
            assert verification.result is VerificationResult.VERIFIED
            (event,) = provider.parse(request).events
            data = event.data
            assert isinstance(data, dict)
            assert data["department"] == "finance & co"
            assert data["action"] == event.type
            assert event.resource == data.get("destination", data.get("path"))
            assert event.actor == data["username"]
            assert event.occurred_at is not None
            assert event.occurred_at.isoformat() == data["at"]
            assert abs((event.occurred_at - datetime.now(UTC)).total_seconds()) < 60

    def test_a_form_with_the_file_contains_its_name_but_not_its_content(self, site: Site) -> None:
        site.register(file_form_field="upload", filenames=["*.pdf"])
        (request,) = site.emit(event_type="create")
        assert b"The content of" in request.body
        (event,) = provider.parse(request).events
        assert isinstance(event.data, dict)
        assert event.data["upload"] == str(event.resource).rpartition("/")[2]
        assert "The content of" not in json.dumps(event.data)

    @pytest.mark.parametrize("encoding", ["EV1", "EV2"])
    def test_exavault_formats_are_parsed_and_kept_whole(self, site: Site, encoding: str) -> None:
        site.live.session = site.live.session_with(
            credentials={**site.live.account["credentials"], "verification_token": TOKEN}
        )
        site.register(method="POST", encoding=encoding)
        (created,), (moved,), (other,) = (site.emit(event_type=name) for name in ("create", "move", "user_create"))
        signature = dict(created.headers)["X-Exavault-Signature"]
        assert signature == hashlib.md5(TOKEN.encode() + created.body).hexdigest()
        events = [event for request in (created, moved, other) for event in provider.parse(request).events]
        assert [event.data for event in events] == [json.loads(item.body) for item in (created, moved, other)]
        assert [(event.type, event.action) for event in events] == [
            ("Upload", Action.CREATED),
            ("Move", Action.MOVED),
            ("user_create", Action.CREATED),
        ]
        paths = [json.loads(item.body)["path"] for item in (created, moved)]
        assert [f"/{event.resource}" for event in events[:2]] == paths
        assert all(event.actor and event.occurred_at is None for event in events)
        assert ("sourcepath" in json.loads(moved.body)) == (encoding == "EV2")

    @pytest.mark.parametrize("metadata", ["none", "query", "headers"])
    @pytest.mark.parametrize("pattern", ["*.pdf", "*.xml", "*.csv", "*"])
    def test_a_file_as_the_body_is_an_event_with_its_metadata(self, site: Site, metadata: str, pattern: str) -> None:
        site.live.control("options", file_metadata=metadata)
        site.register(file_as_body=True, filenames=[pattern])
        (request,) = site.emit(event_type="create")
        assert request.body.startswith(b"The content of")
        assert provider.verify(request, [site.secret], site.live.session.settings).result is VerificationResult.VERIFIED
        (event,) = provider.parse(request).events
        assert event.resource_type == "file"
        assert "Bearer" not in json.dumps(event.data)
        if metadata == "none":
            assert (event.type, event.action, event.resource) == ("file", Action.OTHER, None)
        else:
            assert (event.type, event.action) == ("create", Action.CREATED)
            assert event.resource
            assert event.actor
            assert event.occurred_at

    @pytest.mark.parametrize(
        ("method", "encoding"),
        [("GET", ""), ("GET", "JSON"), ("POST", ""), ("POST", "JSON"), ("POST", "XML"), ("POST", "EV1")],
    )
    def test_an_event_without_a_file_is_an_ordinary_message(self, site: Site, method: str, encoding: str) -> None:
        site.register(file_as_body=True, method=method, encoding=encoding)
        for action in ("destroy", "user_destroy"):
            (request,) = site.emit(event_type=action)
            (event,) = provider.parse(request).events
            assert event.type == ("Delete" if (encoding, action) == ("EV1", "destroy") else action)

    def test_a_raw_plus_in_a_time_is_parsed(self, site: Site) -> None:
        site.register()
        site.live.control("options", raw_plus=True)
        (request,) = site.emit(event_type="create")
        assert "+00" in request.query
        (event,) = provider.parse(request).events
        encoded = replace(request, query=request.query.replace("+", "%2B"))
        assert provider.parse(encoded).events == (event,)
        assert isinstance(event.data, dict)
        assert event.data["at"].endswith("+00:00")
        assert event.occurred_at

    def test_redundant_urls_receive_messages_that_the_first_url_fails(self, site: Site) -> None:
        with StubServer() as backup:
            site.register(redundant_urls=[f"{backup.url}/in", f"{backup.url}/last"])
            site.emit()
            assert backup.received == []
            site.receiver.say(Scripted(500))
            (first,) = site.emit()
            (second,) = [received_request(call) for call in backup.received]
            assert first.query == second.query
            assert [item["status"] for item in site.live.state()["deliveries"]] == [200, 200]
            backup.say(Scripted(404), Scripted(204))
            site.receiver.say(Scripted(503))
            site.emit()
            assert [urlsplit(call.path).path for call in backup.received] == ["/in", "/in", "/last"]
            site.live.control("options", attempt_all_urls=True)
            site.emit()
            assert len(backup.received) == 5

    def test_a_permanent_failure_sends_an_email_and_disables_nothing(self, site: Site) -> None:
        remote_id = site.register()
        for _ in range(7):
            site.receiver.say(Scripted(500))
            site.emit()
        state = site.live.state()
        assert [mail["remote_id"] for mail in state["emails"]] == [remote_id] * 7
        assert state["remote"][0]["enabled"] is True
        assert len(provider.list_remote(site.live.session)) == 1

    def test_folder_file_name_and_trigger_filters_apply(self, site: Site) -> None:
        site.register(path="Clients", recursive=False, filenames=["*.PDF"], exclude_filenames=["draft*"],
                      triggers=["create"])  # fmt: skip
        assert site.emit(event_type="read") == []
        paths = {str(provider.parse(item).events[0].resource) for item in site.emit(event_type="create", count=5)}
        assert len(paths) == 5
        assert all(path.startswith("Clients/") and path.count("/") == 1 and path.endswith(".PDF") for path in paths)

    @pytest.mark.slow
    def test_the_demo_sends_every_action_in_every_format(self, site: Site) -> None:
        kinds: dict[str, set[str]] = {}
        simulator = FilesComSimulator(site.live.sandbox.url, sender=WebhookSender({}))
        simulator.close()
        for title, config in simulator.demo_configs().items():
            remote_id = site.register(**config)
            received = [
                request
                for name in validate(FilesComConfig, config).triggers or [item.name for item in provider.event_types]
                for request in site.emit(event_type=name, remote_id=remote_id)
            ]
            assert [len(provider.parse(request).events) for request in received] == [1] * len(received)
            kinds[title] = {dict(request.headers).get("Content-Type", request.method) for request in received}
            assert len(received) == (15 if title == "Everything" else 6)
        assert kinds["Everything"] == {"GET"}
        assert {FORM, "application/json", "application/xml"} <= set().union(*kinds.values())
        assert any(kind.startswith("multipart/form-data") for kind in kinds["Form with the file"])
        assert kinds["File as the body"] & {"application/pdf", "application/octet-stream", "text/csv", "image/png"}

    def test_control_calls_cannot_change_the_status_or_invalid_fields(self, site: Site) -> None:
        remote_id = site.register()
        url = f"{site.live.sandbox.url}/_sandbox/files-com/remote/{remote_id}"
        for body, text in [
            ({"status": "disabled"}, "cannot disable a behavior"),
            ({"config": {"path": "b"}}, "config.path"),
            ({"config": {"method": "PUT"}}, "config.method"),
            ({"config": {"urls": []}}, "config.urls"),
        ]:
            response = requests.post(url, json=body, timeout=10)
            assert (response.status_code, text in response.json()["error"]) == (400, True)
        response = requests.post(url, json={"config": {"filenames": ["*.a"], "recursive": False}}, timeout=10).json()
        assert (response["value"]["triggering_filenames"], response["recursive"]) == (["*.a"], False)
