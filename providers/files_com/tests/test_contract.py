"""Files.com: the shared contract suite, and what is special here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import pytest
import requests

from providers.contract.base import Registration
from providers.contract.capabilities import Action
from providers.contract.errors import AuthenticationFailed, PermissionMissing, Refused, Throttled, Unsupported
from providers.contract.parsing import InboundRequest, VerificationResult
from providers.contract.schemas import validate
from providers.files_com import provider
from providers.files_com.messages import BOUNDARY
from providers.files_com.schemas import FilesComConfig, FilesComSettings
from providers.files_com.simulator import FilesComSimulator
from providers.sandbox.server import Sandbox
from providers.sandbox.webhook_sender import WebhookSender
from tests.harness.provider_contract import (
    CALLBACK_URL,
    Live,
    ProviderContract,
    Received,
    Scripted,
    StubServer,
    inbound,
)

FIXTURES = Path(__file__).parent.parent / "fixtures"
SECRET = "Bearer hk_" + "s3cr3t" * 6
KEY = "key-0123456789"
TOKEN = "tok-verification-1"
FORM = "application/x-www-form-urlencoded"
CONTENT_TYPES = {
    ".form": FORM,
    ".json": "application/json",
    ".xml": "application/xml",
    ".multipart": f"multipart/form-data; boundary={BOUNDARY}",
    ".bin": "application/pdf",
}


def as_sent(call: Received) -> InboundRequest:
    """A message that a stub received, as our receiver would hand it on."""
    return inbound(call.body, method=call.method, query=urlsplit(call.path).query, headers=call.headers)


class TestFilesCom(ProviderContract):
    provider = provider
    fixtures = FIXTURES
    settings: ClassVar[Mapping[str, object]] = {"subdomain": "acme"}
    credentials: ClassVar[Mapping[str, object]] = {"api_key": KEY, "verification_token": TOKEN}
    config: ClassVar[Mapping[str, object]] = {
        "path": "Clients/Acme",
        "triggers": ["update", "create"],
        "method": "POST",
        "encoding": "JSON",
        "filenames": ["*.pdf"],
    }
    other_config: ClassVar[Mapping[str, object]] = {
        "path": "clients/acme",
        "triggers": ["user_create"],
        "encoding": "RAW",
        "recursive": False,
        "exclude_filenames": ["*.tmp", "*.bak"],
        "redundant_urls": ["https://b.example.test/in", "https://a.example.test/in"],
        "headers": {"X-Source": "files"},
        "body": {"department": "finance"},
        "file_form_field": "file",
        "use_dedicated_ips": True,
    }
    everything: ClassVar[Mapping[str, object]] = {"path": "/"}

    def fixture_request(self, path: Path) -> InboundRequest:
        """By the file's ending: a GET with that query, or a POST of that kind."""
        if path.suffix == ".query":
            return inbound(method="GET", query=path.read_text("utf-8").strip(), headers=())
        headers = [("Content-Type", CONTENT_TYPES[path.suffix])]
        if path.suffix == ".bin":
            headers.append(("X-Hookkeeper-Body", "file"))
        return inbound(path.read_bytes(), headers=tuple(headers))

    # -- Live: what only Files.com does ----------------------------------------------------------------------------

    def test_live_the_list_is_read_page_by_page_and_only_webhooks_are_taken(self, live: Live) -> None:
        live.control("options", page_size=2)
        ids = [live.register(self.registration()).remote_id for _ in range(5)]
        assert [item.remote_id for item in provider.list_remote(live.session)] == ids
        assert [call["path"] for call in live.state()["calls"]].count("/api/rest/v1/behaviors") == 5 + 3

    def test_live_a_folder_administrator_lists_single_folders(self, live: Live) -> None:
        live.control("options", site_admin=False)
        with pytest.raises(PermissionMissing, match="name its folders in the account's setting `folders`"):
            provider.list_remote(live.session)
        settings = validate(FilesComSettings, {**live.account["settings"], "folders": ["clients/acme", "in box"]})
        login = replace(live.session, settings=settings)
        first = provider.register(login, self.registration())
        second = provider.register(login, self.registration(config=self.checked_config({"path": "in box"})))
        assert {item.remote_id for item in provider.list_remote(login)} == {first.remote_id, second.remote_id}
        with pytest.raises(Refused, match="Add elsewhere to its setting") as caught:
            provider.register(login, self.registration(config=self.checked_config({"path": "elsewhere"})))
        assert caught.value.field == "path"
        live.secrets.clear()  # these registrations used a login without the fixture's book-keeping

    @pytest.mark.parametrize("sent", ["object", "text"])
    @pytest.mark.parametrize("shown", ["object", "text"])
    def test_live_value_as_object_and_as_json_text(self, live: Live, sent: str, shown: str) -> None:
        live.control("options", value_as=shown)
        settings = validate(FilesComSettings, {**live.account["settings"], "value_format": sent})
        live.session = replace(live.session, settings=settings)
        registration = self.registration(config=self.checked_config(self.other_config))
        remote_id = live.register(registration).remote_id
        self.expect(provider.read_remote(live.session, remote_id, registration.secret), registration)
        assert provider.read_remote(live.session, remote_id, registration.secret).secret_matches is True
        provider.update(live.session, remote_id, registration)

    def test_live_the_old_list_of_urls_has_no_header(self, live: Live) -> None:
        registration = self.registration(
            config=self.checked_config({"path": "a", "redundant_urls": ["https://b.test/"]})
        )
        remote_id = live.register(registration).remote_id
        live.control("options", value_as="urls")
        remote = provider.read_remote(live.session, remote_id, registration.secret)
        assert (remote.url, remote.secret_matches) == (CALLBACK_URL, False)
        assert (remote.config or {})["redundant_urls"] == ["https://b.test/"]

    @pytest.mark.parametrize("merges", [True, False])
    def test_live_an_update_clears_what_is_no_longer_wanted_and_keeps_what_is_not_ours(
        self, live: Live, merges: bool
    ) -> None:
        live.control("options", update_merges_value=merges)
        remote_id = live.register(self.registration(config=self.checked_config(self.other_config))).remote_id
        live.control(f"remote/{remote_id}", config={"verification_token": "theirs"})
        plain = self.registration(config=self.checked_config({"path": "clients/acme"}))
        live.secrets |= {str(plain.secret), "theirs"}
        self.expect(provider.update(live.session, remote_id, plain), plain)
        assert live.state()["remote"][0]["value"]["verification_token"] == "theirs"

    def test_live_a_token_of_the_account_is_handed_over_and_compared(self, live: Live) -> None:
        live.session = live.session_with(credentials={**live.account["credentials"], "verification_token": TOKEN})
        registration = self.registration()
        remote_id = live.register(registration).remote_id
        assert live.state()["remote"][0]["value"]["verification_token"] == TOKEN
        assert provider.read_remote(live.session, remote_id, registration.secret).secret_matches is True
        live.control(f"remote/{remote_id}", config={"verification_token": "another"})
        assert provider.read_remote(live.session, remote_id, registration.secret).secret_matches is False
        assert provider.list_remote(live.session)[0].secret_matches is False

    @pytest.mark.parametrize("existing", [["behaviors", "webhook_tests"], ["behaviors"], ["webhook_tests"]], ids=str)
    @pytest.mark.parametrize("chosen", ["behaviors", "webhook_tests"])
    def test_live_a_test_call_sends_a_real_webhook(self, live: Live, existing: list[str], chosen: str) -> None:
        live.control("options", test_calls=existing)
        settings = validate(FilesComSettings, {**live.account["settings"], "test_call": chosen})
        with StubServer() as receiver:
            registration = self.registration(callback_url=f"{receiver.url}/hooks/t")
            remote_id = live.register(registration).remote_id
            found = provider.test(replace(live.session, settings=settings), remote_id, registration)
            (call,) = receiver.received
        assert (found.ok, "sent a test webhook" in found.detail) == (True, True)
        assert (
            provider.verify(as_sent(call), [str(registration.secret)], settings).result is VerificationResult.VERIFIED
        )
        (event,) = provider.parse(as_sent(call)).events
        assert (event.type, call.json()["hookkeeper_test"]) == ("update", "1")

    def test_live_a_test_call_tells_what_went_wrong(self, live: Live) -> None:
        with StubServer() as receiver:
            registration = self.registration(callback_url=f"{receiver.url}/hooks/t")
            remote_id = live.register(registration).remote_id
            for call in ("behaviors", "webhook_tests"):
                settings = validate(FilesComSettings, {**live.account["settings"], "test_call": call})
                receiver.say(Scripted(503))
                found = provider.test(replace(live.session, settings=settings), remote_id, registration)
                assert (found.ok, "503" in found.detail) == (False, True)
        live.control("options", test_calls=[])
        with pytest.raises(Unsupported):
            provider.test(live.session, remote_id, registration)

    def test_live_throttling_without_retry_after(self, live: Live) -> None:
        live.control("options", calls_per_second=1, retry_after=False)
        provider.list_remote(live.session)
        with pytest.raises(Throttled) as caught:
            provider.list_remote(live.session)
        assert caught.value.retry_after == 30

    def test_live_a_restricted_key_is_a_warning(self, live: Live) -> None:
        live.control("options", permission_set="desktop_app")
        assert "desktop_app, not full" in (provider.identify(live.session).warning or "")
        assert provider.list_remote(live.session) == ()
        with pytest.raises(PermissionMissing, match="must be administrator of this folder"):
            live.register(self.registration())

    def test_live_a_key_that_was_switched_off_is_refused_everywhere(self, live: Live) -> None:
        remote_id = live.register(self.registration()).remote_id
        live.control("options", key_enabled=False)
        for call in (lambda: provider.identify(live.session), *self.calls_about(live, remote_id)):
            with pytest.raises(AuthenticationFailed, match="Enter another one"):
                call()

    def test_live_a_refused_field_is_named_in_our_words(self, live: Live) -> None:
        live.control("options", require_redundant_url=True)
        with pytest.raises(Refused, match="must hold a redundant URL") as caught:
            live.register(self.registration())
        assert caught.value.field == "callback_url"
        with pytest.raises(Refused, match="sing is not one of the triggers") as caught:
            live.register(self.registration(config=self.checked_config({
                "path": "a", "triggers": ["sing"], "redundant_urls": ["https://b.test/"]})))  # fmt: skip
        assert caught.value.field == "triggers"


# -- Every form in which messages come -------------------------------------------------------------------------------

FORMS: tuple[dict[str, object], ...] = (
    {},
    {"method": "POST"},
    {"method": "POST", "encoding": "RAW"},
    {"method": "POST", "encoding": "JSON"},
    {"method": "POST", "encoding": "XML"},
    {"method": "POST", "file_form_field": "file"},
    {"method": "GET", "encoding": "JSON"},
)


class Site:
    """One webhook at a quiet simulator, whose messages a stub receives."""

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

    def tell(self, **order: object) -> list[InboundRequest]:
        """What is received when that happens."""
        before = len(self.receiver.received)
        self.live.control("emit", **order)
        return [as_sent(call) for call in self.receiver.received[before:]]


class TestMessages:
    @pytest.fixture
    def site(self) -> Iterator[Site]:
        with Sandbox(port=0, seed=4, retry_delays=[]) as sandbox, StubServer() as receiver:
            live = Live(provider, sandbox)
            yield Site(live, receiver)
            live.close()

    @pytest.mark.parametrize("form", FORMS, ids=str)
    def test_every_form_means_the_same(self, site: Site, form: dict[str, object]) -> None:
        site.register(**form, body={"department": "finance & co"})
        requests_ = [request for action in ("create", "move", "permission_create")
                     for request in site.tell(event_type=action, count=3)]  # fmt: skip
        assert len(requests_) == 9
        for request in requests_:
            found = provider.verify(request, [site.secret], site.live.session.settings)
            assert found.result is VerificationResult.VERIFIED
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

    def test_a_form_with_the_file_has_its_name_and_not_its_content(self, site: Site) -> None:
        site.register(file_form_field="upload", filenames=["*.pdf"])
        (request,) = site.tell(event_type="create")
        assert b"The content of" in request.body
        (event,) = provider.parse(request).events
        assert isinstance(event.data, dict)
        assert event.data["upload"] == str(event.resource).rpartition("/")[2]
        assert "The content of" not in json.dumps(event.data)

    @pytest.mark.parametrize("encoding", ["EV1", "EV2"])
    def test_exavault_forms_are_kept_whole_and_read(self, site: Site, encoding: str) -> None:
        site.live.session = site.live.session_with(
            credentials={**site.live.account["credentials"], "verification_token": TOKEN}
        )
        site.register(method="POST", encoding=encoding)
        (created,), (moved,), (other,) = (site.tell(event_type=name) for name in ("create", "move", "user_create"))
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
    def test_a_file_as_the_body_is_an_event_of_what_is_known(self, site: Site, metadata: str, pattern: str) -> None:
        site.live.control("options", file_metadata=metadata)
        site.register(file_as_body=True, filenames=[pattern])
        (request,) = site.tell(event_type="create")
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
    def test_what_has_no_file_is_told_as_ever(self, site: Site, method: str, encoding: str) -> None:
        site.register(file_as_body=True, method=method, encoding=encoding)
        for action in ("destroy", "user_destroy"):
            (request,) = site.tell(event_type=action)
            (event,) = provider.parse(request).events
            assert event.type == ("Delete" if (encoding, action) == ("EV1", "destroy") else action)

    def test_the_plus_of_a_time_may_come_raw(self, site: Site) -> None:
        site.register()
        site.live.control("options", raw_plus=True)
        (request,) = site.tell(event_type="create")
        assert "+00" in request.query
        (event,) = provider.parse(request).events
        encoded = replace(request, query=request.query.replace("+", "%2B"))
        assert provider.parse(encoded).events == (event,)
        assert isinstance(event.data, dict)
        assert event.data["at"].endswith("+00:00")
        assert event.occurred_at

    def test_a_backup_gets_what_the_first_url_does_not_take(self, site: Site) -> None:
        with StubServer() as backup:
            site.register(redundant_urls=[f"{backup.url}/in", f"{backup.url}/last"])
            site.tell()
            assert backup.received == []
            site.receiver.say(Scripted(500))
            (first,) = site.tell()
            (second,) = [as_sent(call) for call in backup.received]
            assert first.query == second.query
            assert [item["status"] for item in site.live.state()["deliveries"]] == [200, 200]
            backup.say(Scripted(404), Scripted(204))
            site.receiver.say(Scripted(503))
            site.tell()
            assert [urlsplit(call.path).path for call in backup.received] == ["/in", "/in", "/last"]
            site.live.control("options", attempt_all_urls=True)
            site.tell()
            assert len(backup.received) == 5

    def test_what_fails_for_good_is_mailed_and_nothing_is_switched_off(self, site: Site) -> None:
        remote_id = site.register()
        for _ in range(7):
            site.receiver.say(Scripted(500))
            site.tell()
        state = site.live.state()
        assert [mail["remote_id"] for mail in state["emails"]] == [remote_id] * 7
        assert state["remote"][0]["enabled"] is True
        assert len(provider.list_remote(site.live.session)) == 1

    def test_filters_hold(self, site: Site) -> None:
        site.register(path="Clients", recursive=False, filenames=["*.PDF"], exclude_filenames=["draft*"],
                      triggers=["create"])  # fmt: skip
        assert site.tell(event_type="read") == []
        paths = {str(provider.parse(item).events[0].resource) for item in site.tell(event_type="create", count=5)}
        assert len(paths) == 5
        assert all(path.startswith("Clients/") and path.count("/") == 1 and path.endswith(".PDF") for path in paths)

    def test_the_demo_tells_of_every_action_and_in_every_form(self, site: Site) -> None:
        kinds: dict[str, set[str]] = {}
        simulator = FilesComSimulator(site.live.sandbox.url, sender=WebhookSender({}))
        simulator.close()
        for title, config in simulator.demo_configs().items():
            remote_id = site.register(**config)
            told = [
                request
                for name in validate(FilesComConfig, config).triggers or [item.name for item in provider.event_types]
                for request in site.tell(event_type=name, remote_id=remote_id)
            ]
            assert [len(provider.parse(request).events) for request in told] == [1] * len(told)
            kinds[title] = {dict(request.headers).get("Content-Type", request.method) for request in told}
            assert len(told) == (15 if title == "Everything" else 6)
        assert kinds["Everything"] == {"GET"}
        assert {FORM, "application/json", "application/xml"} <= set().union(*kinds.values())
        assert any(kind.startswith("multipart/form-data") for kind in kinds["With the file in a form"])
        assert kinds["The file itself"] & {"application/pdf", "application/octet-stream", "text/csv", "image/png"}

    def test_there_is_no_status_to_change_behind_our_back(self, site: Site) -> None:
        remote_id = site.register()
        url = f"{site.live.sandbox.url}/_sandbox/files-com/remote/{remote_id}"
        for body, words in [
            ({"status": "disabled"}, "cannot switch a behavior off"),
            ({"config": {"path": "b"}}, "config.path"),
            ({"config": {"method": "PUT"}}, "config.method"),
            ({"config": {"urls": []}}, "config.urls"),
        ]:
            answer = requests.post(url, json=body, timeout=10)
            assert (answer.status_code, words in answer.json()["error"]) == (400, True)
        answer = requests.post(url, json={"config": {"filenames": ["*.a"], "recursive": False}}, timeout=10).json()
        assert (answer["value"]["triggering_filenames"], answer["recursive"]) == (["*.a"], False)
