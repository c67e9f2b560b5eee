"""Files.com: the shared contract suite, and live tests of its own features."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import strategies as st

from providers.contract.errors import (
    AuthenticationFailed,
    NotFound,
    PermissionMissing,
    Refused,
    Throttled,
    Unsupported,
)
from providers.contract.parsing import InboundRequest, VerificationResult
from providers.contract.schemas import validate
from providers.files_com import provider
from providers.files_com.schemas import FilesComSettings
from providers.files_com.simulated_messages import BOUNDARY
from providers.files_com.tests.samples import (
    FORM,
    KEY,
    TOKEN,
    received_request,
)
from tests.harness.inbound import CALLBACK_URL, inbound
from tests.harness.live_session import Live
from tests.harness.provider_contract import ProviderContract
from tests.harness.stub_server import Scripted, StubServer

FIXTURES = Path(__file__).parent.parent / "fixtures"
CONTENT_TYPES = {
    ".form": FORM,
    ".json": "application/json",
    ".xml": "application/xml",
    ".multipart": f"multipart/form-data; boundary={BOUNDARY}",
    ".bin": "application/pdf",
}


NAMES = st.sampled_from(
    ["action", "interface", "path", "destination", "at", "username", "type", "operation", "attempt"]
)
ANY_TEXT = st.text(st.characters(categories=None), max_size=30)  # lone surrogates and NUL too
TEXTS = ANY_TEXT | st.sampled_from(
    ["create", "move", "file", "2026-01-02T03:04:05 00:00", "9" * 25, "\ud800", "+", "%"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | ANY_TEXT, inner, max_size=6),
    max_leaves=20,
)
MESSAGES = st.dictionaries(NAMES, JSON, max_size=9)
PIECES = st.sampled_from([
    b"<a>", b"</a>", b"<action>", b"</action>", b"create", b"<", b">", b"&", b"&#0;", b"&#x110000;", b"<![CDATA[",
    b"]]>", b"<?x ?>", b"<!--", b"--b", b"\r\n", b"--", b'Content-Disposition: form-data; name="action"',
    b"; filename*=utf-8''%ff",
    b"\xff", b"\x00", b"=", b"%", b"%e4", b"action=create", b"{", b'"', b"\xef\xbb\xbf",
])  # fmt: skip
BODIES = (
    st.binary(max_size=300)
    | st.lists(PIECES, max_size=40).map(b"".join)
    | MESSAGES.map(lambda value: json.dumps(value).encode())
)
KINDS = st.sampled_from(
    ["application/json", "application/xml", "text/xml; charset=x", FORM, "multipart/form-data; boundary=b",
     'multipart/form-data; boundary="', "multipart/form-data; boundary=\ud800", "text/plain", "", "a/b+json", "a/b+xml"]
)  # fmt: skip
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["Content-Disposition", "X-Files-Action", "X-Hookkeeper-Body", "X"]), TEXTS | st.just("file")
    ),
    max_size=3,
)


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
    optional_fields = ("path", "recursive", "name", "description", "value", "attachment_url")
    body_fields = ("action", "interface", "path", "destination", "at", "username", "type", "operation", "attempt")
    refusal_status = 422
    everything: ClassVar[Mapping[str, object]] = {"path": "/"}

    def random_requests(self) -> st.SearchStrategy[InboundRequest]:
        """Return requests of all methods and content types, with odd queries and headers."""
        queries = ANY_TEXT | st.lists(st.tuples(NAMES, TEXTS)).map(str)
        return st.builds(
            lambda body, kind, headers, query, method: inbound(
                body, method=method, query=query, headers=(("Content-Type", kind), *headers)
            ),
            BODIES, KINDS, HEADERS, queries, st.sampled_from(["GET", "POST"]),
        )  # fmt: skip

    def fixture_request(self, path: Path) -> InboundRequest:
        """Return a GET with the query, or a POST whose content type depends on the file extension."""
        if path.suffix == ".query":
            return inbound(method="GET", query=path.read_text("utf-8").strip(), headers=())
        headers = [("Content-Type", CONTENT_TYPES[path.suffix])]
        if path.suffix == ".bin":
            headers.append(("X-Hookkeeper-Body", "file"))
        return inbound(path.read_bytes(), headers=tuple(headers))

    # -- Live: specific to Files.com -----------------------------------------------------------------------------

    def test_live_the_list_is_paginated_and_contains_only_webhooks(self, live: Live) -> None:
        live.control("options", page_size=2)
        ids = [live.register(self.registration()).remote_id for _ in range(5)]
        assert [item.remote_id for item in provider.list_remote(live.session)] == ids
        assert [call["path"] for call in live.state()["calls"]].count("/api/rest/v1/behaviors") == 5 + 3

    def test_live_a_folder_administrator_lists_single_folders(self, live: Live) -> None:
        live.control("options", site_admin=False)
        with pytest.raises(PermissionMissing, match="its folders in the account's setting `folders`"):
            provider.list_remote(live.session)
        settings = validate(FilesComSettings, {**live.account["settings"], "folders": ["clients/acme", "in box"]})
        session = replace(live.session, settings=settings)
        first = provider.register(session, self.registration())
        second = provider.register(session, self.registration(config=self.checked_config({"path": "in box"})))
        assert {item.remote_id for item in provider.list_remote(session)} == {first.remote_id, second.remote_id}
        with pytest.raises(Refused, match="Add elsewhere to its setting") as caught:
            provider.register(session, self.registration(config=self.checked_config({"path": "elsewhere"})))
        assert caught.value.field == "path"
        live.secrets.clear()  # these registrations bypass `Live.register`, which records secrets

    def test_live_a_nested_folder_is_one_segment_of_the_path(self, live: Live) -> None:
        live.control("options", site_admin=False)
        settings = validate(FilesComSettings, {**live.account["settings"], "folders": ["Inbox/Sub A", "/"]})
        live.session = replace(live.session, settings=settings)
        first = live.register(self.registration(config=self.checked_config({"path": "/inbox/sub a/"})))
        second = live.register(self.registration(config=self.checked_config({"path": "/"})))
        assert {item.remote_id for item in provider.list_remote(live.session)} == {first.remote_id, second.remote_id}
        paths = {item["remote_id"]: item["path"] for item in live.state()["remote"]}
        assert paths == {first.remote_id: "inbox/sub a", second.remote_id: ""}

    def test_live_the_simulator_refuses_a_slash_in_a_folder_and_at_the_ends_of_a_path(self, live: Live) -> None:
        session, origin = live.session, provider.api_origin(live.session.settings)
        key = {"X-FilesAPI-Key": session.credentials.api_key}
        assert session.credentials.api_key.isalnum()
        with pytest.raises(NotFound):
            session.http.call("GET", f"{origin}/api/rest/v1/behaviors/folders/a/b", headers=key)
        for path in ("/", "/a", "a/"):
            body = {"path": path, "behavior": "webhook", "value": {"urls": [CALLBACK_URL]}}
            with pytest.raises(Refused, match="begin or end with a slash"):
                session.http.call("POST", f"{origin}/api/rest/v1/behaviors", headers=key, json_body=body)

    def test_live_a_site_without_the_api_key_call_is_checked_by_its_list(self, live: Live) -> None:
        live.control("options", has_api_key_call=False)
        assert provider.identify(live.session).facts == {}
        live.control("options", permission_set="full", key_enabled=False)
        with pytest.raises(AuthenticationFailed):
            provider.identify(live.session)

    @pytest.mark.parametrize("sent", ["object", "text"])
    @pytest.mark.parametrize("shown", ["object", "text"])
    def test_live_value_is_read_as_object_and_as_json_text(self, live: Live, sent: str, shown: str) -> None:
        live.control("options", value_as=shown)
        settings = validate(FilesComSettings, {**live.account["settings"], "value_format": sent})
        live.session = replace(live.session, settings=settings)
        registration = self.registration(config=self.checked_config(self.other_config))
        remote_id = live.register(registration).remote_id
        self.expect(provider.read_remote(live.session, remote_id, registration.secret), registration)
        assert provider.read_remote(live.session, remote_id, registration.secret).secret_matches is True
        provider.update(live.session, remote_id, registration)

    def test_live_the_older_list_of_urls_has_no_header(self, live: Live) -> None:
        registration = self.registration(
            config=self.checked_config({"path": "a", "redundant_urls": ["https://b.test/"]})
        )
        remote_id = live.register(registration).remote_id
        live.control("options", value_as="urls")
        remote = provider.read_remote(live.session, remote_id, registration.secret)
        assert (remote.url, remote.secret_matches) == (CALLBACK_URL, None)
        assert (remote.config or {})["redundant_urls"] == ["https://b.test/"]
        assert self.changes(remote, registration) == ()

    @pytest.mark.parametrize("case", ["lower", "upper"])
    @pytest.mark.parametrize("form", ["NFC", "NFD"])
    def test_live_the_form_of_a_path_is_no_difference(self, live: Live, form: str, case: str) -> None:
        registration = self.registration(config=self.checked_config({"path": "Caf\u00e9/Zoe\u0308"}))
        remote_id = live.register(registration).remote_id
        live.control("options", shown_path_case=case, shown_text=form)
        assert self.changes(provider.read_remote(live.session, remote_id), registration) == ()

    @pytest.mark.parametrize("triggers", [[], ["update", "move", "copy", "create", "read", "destroy"]])
    def test_live_no_triggers_shown_as_all_are_no_difference(self, live: Live, triggers: list[str]) -> None:
        live.control("options", expand_triggers=True)
        registration = self.registration(config=self.checked_config({"path": "a", "triggers": triggers}))
        remote_id = live.register(registration).remote_id
        assert self.changes(provider.read_remote(live.session, remote_id), registration) == ()

    @pytest.mark.parametrize("merges", [True, False])
    def test_live_an_update_clears_removed_values_and_keeps_unmanaged_ones(self, live: Live, merges: bool) -> None:
        live.control("options", update_merges_value=merges)
        remote_id = live.register(self.registration(config=self.checked_config(self.other_config))).remote_id
        live.control(f"remote/{remote_id}", config={"verification_token": "theirs"})
        plain = self.registration(config=self.checked_config({"path": "clients/acme"}))
        live.secrets |= {str(plain.secret), "theirs"}
        self.expect(provider.update(live.session, remote_id, plain), plain)
        assert live.state()["remote"][0]["value"]["verification_token"] == "theirs"

    def test_live_the_verification_token_is_sent_and_compared(self, live: Live) -> None:
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
            result = provider.test(replace(live.session, settings=settings), remote_id, registration)
            (call,) = receiver.received
        assert (result.ok, "sent a test webhook" in result.detail) == (True, True)
        assert (
            provider.verify(received_request(call), [str(registration.secret)], settings).result
            is VerificationResult.VERIFIED
        )
        (event,) = provider.parse(received_request(call)).events
        assert (event.type, call.json()["hookkeeper_test"]) == ("update", "1")

    def test_live_a_failed_test_call_is_explained(self, live: Live) -> None:
        with StubServer() as receiver:
            registration = self.registration(callback_url=f"{receiver.url}/hooks/t")
            remote_id = live.register(registration).remote_id
            for call in ("behaviors", "webhook_tests"):
                settings = validate(FilesComSettings, {**live.account["settings"], "test_call": call})
                receiver.say(Scripted(503))
                result = provider.test(replace(live.session, settings=settings), remote_id, registration)
                assert (result.ok, "503" in result.detail) == (False, True)
        live.control("options", test_calls=[])
        with pytest.raises(Unsupported):
            provider.test(live.session, remote_id, registration)

    def test_live_throttling_without_retry_after_waits_30_seconds(self, live: Live) -> None:
        live.control("options", calls_per_second=1, retry_after=False)
        provider.list_remote(live.session)
        with pytest.raises(Throttled) as caught:
            provider.list_remote(live.session)
        assert caught.value.retry_after == 30

    def test_live_a_restricted_key_is_a_warning(self, live: Live) -> None:
        live.control("options", permission_set="desktop_app")
        assert "desktop_app, not full" in (provider.identify(live.session).warning or "")
        assert provider.list_remote(live.session) == ()
        with pytest.raises(PermissionMissing, match="must be an administrator of this folder"):
            live.register(self.registration())

    def test_live_a_disabled_key_is_refused_by_every_call(self, live: Live) -> None:
        remote_id = live.register(self.registration()).remote_id
        live.control("options", key_enabled=False)
        for call in (lambda: provider.identify(live.session), *self.calls_about(live, remote_id)):
            with pytest.raises(AuthenticationFailed, match="Enter another one"):
                call()

    def test_live_a_refused_field_has_our_name(self, live: Live) -> None:
        live.control("options", require_redundant_url=True)
        with pytest.raises(Refused, match="must hold a redundant URL") as caught:
            live.register(self.registration())
        assert caught.value.field == "callback_url"
        with pytest.raises(Refused, match="sing is not one of the triggers") as caught:
            live.register(self.registration(config=self.checked_config({
                "path": "a", "triggers": ["sing"], "redundant_urls": ["https://b.test/"]})))  # fmt: skip
        assert caught.value.field == "triggers"
