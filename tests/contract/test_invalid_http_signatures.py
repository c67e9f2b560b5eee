"""HTTP message signatures that are refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from providers.contract.http_signatures import Policy, verify_hmac
from providers.contract.signature_components import Message
from tests.contract.signed_messages import (
    BODY,
    COVERED,
    CREATED,
    KEY,
    NOW,
    POLICY,
    URI,
    digest_of,
    header,
    refusal,
    signature,
    signed,
    with_header,
)


def test_two_insufficient_signatures_are_not_combined() -> None:
    narrow = signed(("@method",), label="narrow")  # valid, but covers too little
    forged = signed(label="forged", key=b"theirs")  # covers everything, but is invalid
    headers = (
        ("Content-Digest", digest_of(BODY)),
        ("Signature-Input", f"{header(narrow, 'Signature-Input')}, {header(forged, 'Signature-Input')}"),
        ("Signature", f"{header(narrow, 'Signature')}, {header(forged, 'Signature')}"),
    )
    reasons = refusal(replace(narrow, headers=headers))
    assert "narrow: It does not cover @target-uri, content-digest" in reasons
    assert "forged: It matches none" in reasons


@pytest.mark.parametrize("missing", COVERED)
def test_a_signature_without_a_required_component_is_refused(missing: str) -> None:
    assert f"does not cover {missing}" in refusal(signed([name for name in COVERED if name != missing]))


def test_reordered_components_are_refused() -> None:
    message = signed()
    swapped = header(message, "Signature-Input").replace('"@method" "@target-uri"', '"@target-uri" "@method"')
    assert "matches none of the keys" in refusal(with_header(message, "Signature-Input", swapped))


def test_a_repeated_component_is_refused() -> None:
    assert "covers a component twice" in refusal(signed((*COVERED, "@method")))


def test_a_changed_body_method_url_or_signature_is_refused() -> None:
    message = signed()
    assert "not that of the body" in refusal(replace(message, body=BODY + b" "))
    assert "matches none" in refusal(replace(message, method="GET"))
    for uri in (URI.replace("hooks.example", "evil.example"), URI + "&c", URI.replace("%2F", "%2f"), URI[:-4]):
        assert "matches none" in refusal(replace(message, target_uri=uri))
    assert "matches none" in refusal(with_header(message, "Signature", "sig=:AAAA:"))
    assert "matches none" in refusal(with_header(message, "Signature", "sig=::"))


def test_a_signed_wrong_digest_is_refused() -> None:
    assert "not that of the body" in refusal(signed(digest=digest_of(b"other")))


def test_an_unsigned_correct_digest_is_refused() -> None:
    message = signed(digest=digest_of(b"other"))
    assert "matches none" in refusal(with_header(message, "Content-Digest", digest_of(BODY)))


def test_the_host_header_is_ignored() -> None:
    message = signed(extra=(("Host", "evil.example"),))
    assert verify_hmac(message, [KEY], POLICY, NOW)
    assert "matches none" in refusal(replace(message, target_uri="https://evil.example/hooks/t0ken?a=%2F&b"))


@pytest.mark.parametrize("keys", [[], [b""], [b"", b"another"]])
def test_missing_empty_and_wrong_keys_are_refused(keys: list[bytes]) -> None:
    assert "matches none of the keys" in refusal(signed(), keys=keys)
    assert "matches none of the keys" in refusal(signed(key=b"\0"), keys=[b""])


@pytest.mark.parametrize("name", ["Content-Digest", "Signature-Input", "Signature"])
@pytest.mark.parametrize("value", [None, "", " ", ",", "sig", "sig=", "sig=1", "sig=:A:", "=", "sig=()x", "\ud800"])
def test_missing_and_empty_headers_are_refused(name: str, value: str | None) -> None:
    message = signed()
    other_headers = tuple(item for item in message.headers if item[0] != name)
    refusal(replace(message, headers=other_headers if value is None else (*other_headers, (name, value))))


def test_a_label_missing_in_the_other_header_is_refused() -> None:
    message = signed()
    assert "The header Signature does not have it" in refusal(
        with_header(message, "Signature", header(message, "Signature").replace("sig=", "gis="))
    )


@pytest.mark.parametrize(("name", "value"), [("Signature-Input", "sig=()"), ("Signature", "sig=:AAAA:")])
def test_a_repeated_header_with_another_value_is_refused(name: str, value: str) -> None:
    message = signed()
    assert "twice" in refusal(replace(message, headers=(*message.headers, (name, value))))
    assert "twice" in refusal(replace(message, headers=((name, value), *message.headers)))


def test_a_repeated_digest_that_is_not_signed_or_is_wrong_is_refused() -> None:
    message = signed()
    repeated = ("Content-Digest", header(message, "Content-Digest"))
    assert "matches none" in refusal(replace(message, headers=(*message.headers, repeated)))
    wrong = ("Content-Digest", digest_of(b"other"))
    assert "not that of the body" in refusal(replace(message, headers=(*message.headers, wrong)))


@pytest.mark.parametrize("name", ["Content-Digest", "Signature-Input", "Signature"])
@pytest.mark.parametrize("odd", ["\r\n ", "\n", "\x00", "é", "\u2028", "\ud800"])
def test_folded_and_non_ascii_headers_are_refused(name: str, odd: str) -> None:
    message = signed()
    value = header(message, name)
    for changed in (odd + value, value[:5] + odd + value[5:], value + odd):
        assert "line break or something other" in refusal(with_header(message, name, changed))


@pytest.mark.parametrize("odd", ["\n", "\r\n", "é", "\x00"])
def test_a_line_break_cannot_split_a_component(odd: str) -> None:
    smuggled = f'{URI}{odd}"content-digest": x'
    assert "line break or something other" in refusal(replace(signed(), target_uri=smuggled))
    assert "line break or something other" in refusal(replace(signed(), method=f"POST{odd}"))
    covered = signed((*COVERED, "x-note"), extra=(("X-Note", "a"),))
    assert "line break or something other" in refusal(with_header(covered, "X-Note", f"a{odd}"))


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        (f";expires={CREATED}", "expired"),
        (";expires=0", "expired"),
        (";expires=-1", "expired"),
        (";expires", "not a time"),
        (';expires="9999999999"', "not a time"),
        (";expires=99999999999.5", "not a time"),
        (';alg="ed25519"', "algorithm is not"),
        (";alg=hmac-sha256", "algorithm is not"),
        (";created=soon", "not a time"),
        (";created=1;created=2", "twice"),
        (";created=9999999999999999", "malformed"),
        (";Created=1", "malformed"),
        (";=1", "malformed"),
        (';keyid="é"', "something other"),
        (';keyid="a', "malformed"),
        (';keyid="\\a"', "malformed"),
    ],
)
def test_invalid_parameters_are_refused(parameters: str, reason: str) -> None:
    assert reason in refusal(signed(parameters=parameters))


@pytest.mark.parametrize(
    ("created", "reason"),
    [
        (";created={0}", None),
        (";created={-3600}", None),
        (";created={-3601}", "too long ago"),
        (";created={300}", None),
        (";created={301}", "in the future"),
        (";created=-999999999999999", "too long ago"),
        (";created=999999999999999", "in the future"),
        ("", "does not say when"),
    ],
)
def test_the_age_is_checked_if_the_policy_limits_it_and_the_future_always(created: str, reason: str | None) -> None:
    number = created.partition("{")[2].rstrip("}")
    message = signed(parameters=f";created={CREATED + int(number)}" if number else created)
    if reason == "in the future":
        assert reason in refusal(message)
    else:
        assert verify_hmac(message, [KEY], POLICY, NOW)
    if not created:
        assert verify_hmac(message, [KEY], Policy(COVERED, max_age=timedelta(hours=1), must_be_dated=False), NOW)
    strict = Policy(COVERED, max_age=timedelta(hours=1))
    if reason is None:
        assert verify_hmac(message, [KEY], strict, NOW)
    else:
        assert reason in refusal(message, strict)


@pytest.mark.parametrize(
    "inner",
    [
        '("@method" "@target-uri" "content-digest"',
        '"@method" "@target-uri" "content-digest"',
        '("@method""@target-uri" "content-digest")',
        '("@method","@target-uri","content-digest")',
        "(@method @target-uri content-digest)",
        '("@method" "@target-uri" "content-digest")trailing',
        '("@method" "@target-uri" "content-digest"),',
        '("@method"\t"@target-uri" "content-digest")',
    ],
)
def test_a_malformed_component_list_is_refused(inner: str) -> None:
    assert "malformed" in refusal(with_header(signed(), "Signature-Input", f"sig={inner}"))


@pytest.mark.parametrize(
    ("component", "reason"),
    [
        ('"@query-param";name="none"', "0 times"),
        ('"@query-param"', "other than name"),
        ('"@query-param";name=1', "without a usable parameter name"),
        ('"@query";sf', "with parameters"),
        ('"content-digest";req', "unsupported parameters"),
        ('"content-digest";x', "unknown parameter x"),
        ('"content-digest";bs;sf', "bs and another"),
        ('"content-digest";key', "without a usable parameter key"),
        ('"content-digest";key="md5"', "no member md5"),
        ('"signature-input";key=""', "no member"),
        ('"x-missing"', "no header X-Missing"),
        ('"@status"', "not supported"),
        ('"@"', "not supported"),
        ('"Content-Digest"', "invalid name"),
        ('""', "invalid name"),
        ('"a b"', "invalid name"),
        ('"a\\"b"', "invalid name"),
    ],
)
def test_components_that_cannot_be_derived_are_refused(component: str, reason: str) -> None:
    value = f'sig=("@method" "@target-uri" "content-digest" {component})'
    assert reason in refusal(with_header(signed(), "Signature-Input", value))


def test_an_invalid_target_uri_is_refused() -> None:
    message = replace(signed((*COVERED, "@authority")), target_uri="https://[::1/hooks")
    assert "not a URL" in refusal(message)


@pytest.mark.parametrize(
    ("uri", "authority", "request_target"),
    [
        ("https://Example.test:443", "example.test", "/"),
        ("http://example.test:80/a?", "example.test", "/a?"),
        ("http://example.test:8080?x", "example.test:8080", "/?x"),
    ],
)
def test_derived_components_are_normalized(uri: str, authority: str, request_target: str) -> None:
    raw = '("@authority" "@request-target")'
    signature_value = signature(raw, [f'"@authority": {authority}', f'"@request-target": {request_target}'])
    headers = (("Signature-Input", f"sig={raw}"), ("Signature", f"sig=:{signature_value}:"))
    policy = Policy(("@authority", "@request-target"))
    assert verify_hmac(Message("GET", uri, headers, b""), [KEY], policy, NOW)
