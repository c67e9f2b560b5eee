"""HTTP message signatures: the RFC's own vector, and everything that must not pass for a signature."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.contract.http_signatures import (
    Match,
    Message,
    Policy,
    SignatureRefused,
    check_content_digest,
    verify_hmac,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CREATED = int(NOW.timestamp())
KEY = b"a key of the tests"
URI = "https://hooks.example.test/hooks/t0ken?a=%2F&b"
BODY = b'{"id": "1"}'
COVERED = ("@method", "@target-uri", "content-digest")
POLICY = Policy(COVERED)
PARAMETERS = f';created={CREATED};alg="hmac-sha256"'

# RFC 9421, appendix B.1.5 and B.2.5
RFC_KEY = base64.b64decode("uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==")
RFC_DIGEST = "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:"
RFC_MESSAGE = Message(
    method="POST",
    target_uri="https://example.com/foo?param=Value&Pet=dog",
    headers=(
        ("Host", "example.com"),
        ("Date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        ("Content-Type", "application/json"),
        ("Content-Digest", RFC_DIGEST),
        ("Content-Length", "18"),
        (
            "Signature-Input",
            'sig-b25=("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"',
        ),
        ("Signature", "sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:"),
    ),
    body=b'{"hello": "world"}',
)


def b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def digest_of(body: bytes, name: str = "sha-256") -> str:
    algorithm = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512}[name]
    return f"{name}=:{b64(algorithm(body).digest())}:"


def signature(raw: str, lines: Sequence[str], key: bytes = KEY) -> str:
    base = "\n".join([*lines, f'"@signature-params": {raw}'])
    return b64(hmac.new(key, base.encode(), hashlib.sha256).digest())


def signed(
    components: Sequence[str] = COVERED,
    parameters: str = PARAMETERS,
    *,
    digest: str | None = None,
    label: str = "sig",
    extra: tuple[tuple[str, str], ...] = (),
    key: bytes = KEY,
) -> Message:
    """A message with a right signature over these components, in this order."""
    digest = digest or digest_of(BODY)
    values = {
        "@method": "POST",
        "@target-uri": URI,
        "@authority": "hooks.example.test",
        "@scheme": "https",
        "@path": "/hooks/t0ken",
        "@query": "?a=%2F&b",
        "@request-target": "/hooks/t0ken?a=%2F&b",
        "content-digest": digest,
        **{name.lower(): value.strip() for name, value in extra},
    }
    names = " ".join(f'"{name}"' for name in components)
    raw = f"({names}){parameters}"
    proof = signature(raw, [f'"{name}": {values.get(name, "")}' for name in components], key)
    headers = (
        ("Content-Digest", digest),
        ("Signature-Input", f"{label}={raw}"),
        ("Signature", f"{label}=:{proof}:"),
        *extra,
    )
    return Message("POST", URI, headers, BODY)


def with_header(message: Message, name: str, value: str) -> Message:
    """The same with one header's value changed, or added."""
    kept = tuple((key, old) for key, old in message.headers if key.lower() != name.lower())
    return replace(message, headers=(*kept, (name, value)))


def header(message: Message, name: str) -> str:
    return next(value for key, value in message.headers if key == name)


def refusal(message: Message, policy: Policy = POLICY, keys: Sequence[bytes] = (KEY,)) -> str:
    with pytest.raises(SignatureRefused) as caught:
        verify_hmac(message, keys, policy, NOW)
    return str(caught.value)


# -- What is accepted ------------------------------------------------------------------------------------------------


def test_the_vector_of_the_rfc() -> None:
    policy = Policy(("date", "@authority", "content-type"))
    assert verify_hmac(RFC_MESSAGE, [b"another", RFC_KEY], policy, NOW) == Match("sig-b25", 1)
    check_content_digest(RFC_MESSAGE)
    assert "does not cover @method, @target-uri" in refusal(RFC_MESSAGE, POLICY, [RFC_KEY])


# Signature bases as the RFC prints them. Their signatures there need keys of other algorithms, so they are signed here.
RFC_BASES = {
    "B.2.1 minimal": """\
"@signature-params": ();created=1618884473;keyid="test-key-rsa-pss";nonce="b3k2pp5k7z-50gnwp.yemd\"""",
    "B.2.3 full": """\
"date": Tue, 20 Apr 2021 02:07:55 GMT
"@method": POST
"@path": /foo
"@query": ?param=Value&Pet=dog
"@authority": example.com
"content-type": application/json
"content-digest": sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:
"content-length": 18
"@signature-params": ("date" "@method" "@path" "@query" "@authority" "content-type" "content-digest" "content-length")\
;created=1618884473;keyid="test-key-rsa-pss\"""",
    "B.2.6 without digest": """\
"date": Tue, 20 Apr 2021 02:07:55 GMT
"@method": POST
"@path": /foo
"@authority": example.com
"content-type": application/json
"content-length": 18
"@signature-params": ("date" "@method" "@path" "@authority" "content-type" "content-length")\
;created=1618884473;keyid="test-key-ed25519\"""",
}


def signed_base(message: Message, base: str) -> Message:
    """The message with a signature over that very base."""
    raw = base.rpartition('"@signature-params": ')[2]
    proof = b64(hmac.new(RFC_KEY, base.encode(), hashlib.sha256).digest())
    return with_header(with_header(message, "Signature-Input", f"sig={raw}"), "Signature", f"sig=:{proof}:")


@pytest.mark.parametrize("base", RFC_BASES.values(), ids=RFC_BASES)
def test_the_signature_bases_of_the_rfc(base: str) -> None:
    assert verify_hmac(signed_base(RFC_MESSAGE, base), [RFC_KEY], Policy(()), NOW) == Match("sig", 0)


def test_header_values_are_joined_and_trimmed_as_in_the_rfc() -> None:
    message = replace(
        RFC_MESSAGE,
        headers=(
            ("Host", "www.example.com"),
            ("X-OWS-Header", "   Leading and trailing whitespace.   "),
            ("Cache-Control", "max-age=60"),
            ("Cache-Control", "   must-revalidate"),
            ("X-Empty-Header", ""),
        ),
    )
    base = """\
"host": www.example.com
"x-ows-header": Leading and trailing whitespace.
"cache-control": max-age=60, must-revalidate
"x-empty-header":\u0020
"@signature-params": ("host" "x-ows-header" "cache-control" "x-empty-header")"""
    assert verify_hmac(signed_base(message, base), [RFC_KEY], Policy(()), NOW) == Match("sig", 0)


@pytest.mark.parametrize(
    ("body", "digest"),
    [
        (b'{"hello": "world"}', "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"),
        (b'{"hello": "world"}\n', "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"),
        (b'{"hello": "world"}', RFC_DIGEST),
    ],
    ids=["RFC 9421", "RFC 9530", "RFC 9421 with sha-512"],
)
def test_the_digests_of_the_rfcs(body: bytes, digest: str) -> None:
    check_content_digest(replace(with_header(RFC_MESSAGE, "Content-Digest", digest), body=body))
    with pytest.raises(SignatureRefused):
        check_content_digest(replace(with_header(RFC_MESSAGE, "Content-Digest", digest), body=body + b" "))


def test_the_headers_may_stand_in_any_case_and_order() -> None:
    message = signed()
    shouted = tuple((name.upper(), value) for name, value in reversed(message.headers))
    assert verify_hmac(replace(message, headers=shouted), [KEY], POLICY, NOW) == Match("sig", 0)


@pytest.mark.parametrize("name", ["sha-256", "sha-512"])
def test_both_digests(name: str) -> None:
    assert verify_hmac(signed(digest=digest_of(BODY, name)), [KEY], POLICY, NOW)


def test_several_digests_must_all_be_right_and_unknown_ones_are_not_looked_at() -> None:
    both = f"{digest_of(BODY, 'sha-512')}, md5=:AAAA:, {digest_of(BODY)}"
    assert verify_hmac(signed(digest=both), [KEY], POLICY, NOW)
    assert "sha-512 in Content-Digest" in refusal(signed(digest=f"{digest_of(BODY)}, sha-512=:AAAA:"))
    assert "has none of sha-256, sha-512" in refusal(signed(digest="md5=:AAAA:"))


@pytest.mark.parametrize(
    "components",
    [
        tuple(reversed(COVERED)),  # the signer's order counts
        (*COVERED, "@authority", "@scheme", "@path", "@query", "@request-target", "content-type"),
    ],
)
def test_a_signer_may_choose_the_order_and_cover_more(components: tuple[str, ...]) -> None:
    message = signed(components, extra=(("Content-Type", " application/json\t"),))
    assert verify_hmac(message, [KEY], POLICY, NOW)


@pytest.mark.parametrize(
    "parameters",
    [
        "",
        ';created=1;keyid="a \\"quoted\\" \\\\ one";nonce="n"',
        f";expires={CREATED + 1}",
        "; created=1;  tag=token/x;flag;bool=?1;raw=:AAAA:;number=-1.5",
    ],
)
def test_parameters_count_byte_for_byte(parameters: str) -> None:
    message = signed(parameters=parameters)
    assert verify_hmac(message, [KEY], POLICY, NOW)
    spaced = header(message, "Signature-Input").replace('("@method"', '( "@method"')
    assert "fits none of the keys" in refusal(with_header(message, "Signature-Input", spaced))


def test_odd_spaces_are_fine_where_they_were_signed() -> None:
    raw = '(  "@method"   "@target-uri" "content-digest" );  created=1'
    lines = ['"@method": POST', f'"@target-uri": {URI}', f'"content-digest": {digest_of(BODY)}']
    message = with_header(signed(), "Signature-Input", f"x={raw}")
    message = with_header(message, "Signature", f"x=:{signature(raw, lines)}:")
    assert verify_hmac(message, [KEY], POLICY, NOW) == Match("x", 0)


@pytest.mark.parametrize("first", [True, False])
def test_of_two_signatures_one_that_satisfies_everything_is_enough(first: bool) -> None:
    good, other = signed(label="good"), signed(("@method",), label="other", key=b"theirs")
    pair = (good, other) if first else (other, good)
    headers = (
        ("Content-Digest", digest_of(BODY)),
        # One as two headers, the other joined: that means the same.
        *(("Signature-Input", header(message, "Signature-Input")) for message in pair),
        ("Signature", " , ".join(header(message, "Signature") for message in pair)),
    )
    assert verify_hmac(replace(good, headers=headers), [KEY], POLICY, NOW) == Match("good", 0)


# -- What is refused -------------------------------------------------------------------------------------------------


def test_two_signatures_do_not_add_up() -> None:
    narrow = signed(("@method",), label="narrow")  # right, but covers too little
    forged = signed(label="forged", key=b"theirs")  # covers everything, but is not right
    headers = (
        ("Content-Digest", digest_of(BODY)),
        ("Signature-Input", f"{header(narrow, 'Signature-Input')}, {header(forged, 'Signature-Input')}"),
        ("Signature", f"{header(narrow, 'Signature')}, {header(forged, 'Signature')}"),
    )
    told = refusal(replace(narrow, headers=headers))
    assert "narrow: It does not cover @target-uri, content-digest" in told
    assert "forged: It fits none" in told


@pytest.mark.parametrize("missing", COVERED)
def test_a_component_that_must_be_covered_is_missing(missing: str) -> None:
    assert f"does not cover {missing}" in refusal(signed([name for name in COVERED if name != missing]))


def test_reordered_components() -> None:
    message = signed()
    swapped = header(message, "Signature-Input").replace('"@method" "@target-uri"', '"@target-uri" "@method"')
    assert "fits none of the keys" in refusal(with_header(message, "Signature-Input", swapped))


def test_a_component_twice() -> None:
    assert "covers a component twice" in refusal(signed((*COVERED, "@method")))


def test_a_changed_body_method_address_or_signature() -> None:
    message = signed()
    assert "not that of the body" in refusal(replace(message, body=BODY + b" "))
    assert "fits none" in refusal(replace(message, method="GET"))
    for uri in (URI.replace("hooks.example", "evil.example"), URI + "&c", URI.replace("%2F", "%2f"), URI[:-4]):
        assert "fits none" in refusal(replace(message, target_uri=uri))
    assert "fits none" in refusal(with_header(message, "Signature", "sig=:AAAA:"))
    assert "fits none" in refusal(with_header(message, "Signature", "sig=::"))


def test_a_wrong_digest_that_was_signed() -> None:
    assert "not that of the body" in refusal(signed(digest=digest_of(b"other")))


def test_a_right_digest_that_was_not_signed() -> None:
    message = signed(digest=digest_of(b"other"))
    assert "fits none" in refusal(with_header(message, "Content-Digest", digest_of(BODY)))


def test_the_host_header_says_nothing() -> None:
    message = signed(extra=(("Host", "evil.example"),))
    assert verify_hmac(message, [KEY], POLICY, NOW)
    assert "fits none" in refusal(replace(message, target_uri="https://evil.example/hooks/t0ken?a=%2F&b"))


@pytest.mark.parametrize("keys", [[], [b""], [b"", b"another"]])
def test_no_key_an_empty_key_and_another_key(keys: list[bytes]) -> None:
    assert "fits none of the keys" in refusal(signed(), keys=keys)
    assert "fits none of the keys" in refusal(signed(key=b"\0"), keys=[b""])


@pytest.mark.parametrize("name", ["Content-Digest", "Signature-Input", "Signature"])
@pytest.mark.parametrize("value", [None, "", " ", ",", "sig", "sig=", "sig=1", "sig=:A:", "=", "sig=()x", "\ud800"])
def test_a_header_that_is_missing_or_means_nothing(name: str, value: str | None) -> None:
    message = signed()
    kept = tuple(item for item in message.headers if item[0] != name)
    refusal(replace(message, headers=kept if value is None else (*kept, (name, value))))


def test_a_label_that_the_other_header_does_not_have() -> None:
    message = signed()
    assert "The header Signature does not have it" in refusal(
        with_header(message, "Signature", header(message, "Signature").replace("sig=", "gis="))
    )


@pytest.mark.parametrize("name", ["Content-Digest", "Signature-Input", "Signature"])
def test_a_header_that_was_sent_twice_is_ambiguous(name: str) -> None:
    message = signed()
    twice = replace(message, headers=(*message.headers, (name, header(message, name))))
    assert "twice" in refusal(twice)


@pytest.mark.parametrize("name", ["Content-Digest", "Signature-Input", "Signature"])
@pytest.mark.parametrize("odd", ["\r\n ", "\n", "\x00", "é", "\u2028", "\ud800"])
def test_folded_and_non_ascii_headers(name: str, odd: str) -> None:
    message = signed()
    value = header(message, name)
    for changed in (odd + value, value[:5] + odd + value[5:], value + odd):
        assert "line break or something else" in refusal(with_header(message, name, changed))


@pytest.mark.parametrize("odd", ["\n", "\r\n", "é", "\x00"])
def test_a_line_break_never_makes_one_component_two(odd: str) -> None:
    smuggled = f'{URI}{odd}"content-digest": x'
    assert "line break or something else" in refusal(replace(signed(), target_uri=smuggled))
    assert "line break or something else" in refusal(replace(signed(), method=f"POST{odd}"))
    covered = signed((*COVERED, "x-note"), extra=(("X-Note", "a"),))
    assert "line break or something else" in refusal(with_header(covered, "X-Note", f"a{odd}"))


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        (f";expires={CREATED}", "expired"),
        (";expires=0", "expired"),
        (";expires=-1", "expired"),
        (";expires", "no time"),
        (';expires="9999999999"', "no time"),
        (";expires=99999999999.5", "no time"),
        (';alg="ed25519"', "algorithm is not"),
        (";alg=hmac-sha256", "algorithm is not"),
        (";created=soon", "no time"),
        (";created=1;created=2", "twice"),
        (";created=9999999999999999", "malformed"),
        (";Created=1", "malformed"),
        (";=1", "malformed"),
        (';keyid="é"', "something else"),
        (';keyid="a', "malformed"),
        (';keyid="\\a"', "malformed"),
    ],
)
def test_bad_parameters(parameters: str, words: str) -> None:
    assert words in refusal(signed(parameters=parameters))


@pytest.mark.parametrize(
    ("created", "words"),
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
def test_the_age_counts_only_where_it_is_asked_for(created: str, words: str | None) -> None:
    number = created.partition("{")[2].rstrip("}")
    message = signed(parameters=f";created={CREATED + int(number)}" if number else created)
    assert verify_hmac(message, [KEY], POLICY, NOW)
    strict = Policy(COVERED, max_age=timedelta(hours=1))
    if words is None:
        assert verify_hmac(message, [KEY], strict, NOW)
    else:
        assert words in refusal(message, strict)


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
def test_a_malformed_list_of_components(inner: str) -> None:
    assert "malformed" in refusal(with_header(signed(), "Signature-Input", f"sig={inner}"))


@pytest.mark.parametrize(
    ("component", "words"),
    [
        ('"@query-param";name="a"', "parameters"),
        ('"content-digest";sf', "parameters"),
        ('"x-missing"', "no header X-Missing"),
        ('"@status"', "not supported"),
        ('"@"', "not supported"),
        ('"Content-Digest"', "name is none"),
        ('""', "name is none"),
        ('"a b"', "name is none"),
        ('"a\\"b"', "name is none"),
    ],
)
def test_components_that_cannot_be_computed(component: str, words: str) -> None:
    value = f'sig=("@method" "@target-uri" "content-digest" {component})'
    assert words in refusal(with_header(signed(), "Signature-Input", value))


def test_an_address_that_is_no_url() -> None:
    message = replace(signed((*COVERED, "@authority")), target_uri="https://[::1/hooks")
    assert "no URL" in refusal(message)


@pytest.mark.parametrize(
    ("uri", "authority", "request_target"),
    [
        ("https://Example.test:443", "example.test", "/"),
        ("http://example.test:80/a?", "example.test", "/a?"),
        ("http://example.test:8080?x", "example.test:8080", "/?x"),
    ],
)
def test_derived_components_are_normalised(uri: str, authority: str, request_target: str) -> None:
    raw = '("@authority" "@request-target")'
    proof = signature(raw, [f'"@authority": {authority}', f'"@request-target": {request_target}'])
    headers = (("Signature-Input", f"sig={raw}"), ("Signature", f"sig=:{proof}:"))
    policy = Policy(("@authority", "@request-target"))
    assert verify_hmac(Message("GET", uri, headers, b""), [KEY], policy, NOW)


# -- Bounds ----------------------------------------------------------------------------------------------------------

HUGE: dict[str, tuple[str, str]] = {
    "one long label": ("Signature-Input", "a" * 5_000_000),
    "many labels": ("Signature-Input", ",".join(f"s{number}=()" for number in range(1000))),
    "endless list": ("Signature-Input", "sig=(" + '"a" ' * 1_000_000),
    "many components": (
        "Signature-Input",
        "sig=(" + " ".join(f'"x{n}"' for n in range(500)) + ' "@method" "@target-uri" "content-digest")',
    ),
    "many parameters": ("Signature-Input", "sig=()" + ";a" * 3000),
    "backslashes": ("Signature-Input", 'sig=("' + "\\\\" * 3000),
    "spaces": ("Signature-Input", "sig=(" + " " * 8000),
    "commas": ("Signature", "," * 8000),
    "long base64": ("Signature", "sig=:" + "A" * 5_000_000 + ":"),
    "long digest": ("Content-Digest", "sha-256=:" + "A" * 8000),
    "many digests": ("Content-Digest", ", ".join(f"x{number}=:AAAA:" for number in range(500))),
    "long number": ("Signature-Input", "sig=();created=" + "9" * 8000),
}


@pytest.mark.parametrize("case", HUGE)
def test_what_is_made_to_hurt_is_refused_at_once(case: str) -> None:
    message = with_header(signed(), *HUGE[case])
    started = time.thread_time()
    refusal(message)
    assert time.thread_time() - started < 1


def test_many_headers_and_many_signatures_are_worked_through_in_bounded_time() -> None:
    inputs = ", ".join(f's{number}=("@method" "@target-uri" "content-digest");created={number}' for number in range(8))
    proofs = ", ".join(f"s{number}=:AAAA:" for number in range(8))
    message = with_header(with_header(signed(), "Signature-Input", inputs), "Signature", proofs)
    message = replace(message, headers=(*message.headers, *((f"X-{n}", "v") for n in range(50_000))))
    started = time.thread_time()
    assert refusal(message, keys=[b"key"] * 4).count("fits none") == 8
    assert time.thread_time() - started < 2


TEXTS = st.text(max_size=60) | st.sampled_from(
    ["sig=()", 'sig=("@method")', "sig=:AAAA:", digest_of(BODY), "sha-256=:AAAA:", 'a=("x";b=1 "y");c="d", e=()']
)


@given(st.lists(st.tuples(st.sampled_from(["Signature-Input", "Signature", "content-digest", "X"]), TEXTS)), TEXTS)
def test_nothing_but_a_refusal_ever_comes_out(headers: list[tuple[str, str]], uri: str) -> None:
    message = Message("POST", uri, tuple(headers), BODY)
    with pytest.raises(SignatureRefused):
        verify_hmac(message, [KEY], POLICY, NOW)
    with suppress(SignatureRefused):
        check_content_digest(message)


@given(st.sampled_from(["Content-Digest", "Signature-Input", "Signature"]), st.data())
def test_one_changed_character_is_enough(name: str, data: st.DataObject) -> None:
    message = signed()
    value = header(message, name)
    place = data.draw(st.integers(0, len(value) - 1))
    changed = value[:place] + data.draw(st.characters().filter(lambda new: new != value[place])) + value[place + 1 :]
    if name == "Signature" and base64_of(changed) == base64_of(value):
        return  # the unused bits at the end of base64
    refusal(with_header(message, name, changed))


def base64_of(value: str) -> bytes | None:
    text = value.partition(":")[2].rstrip(":")
    with suppress(ValueError):
        return base64.b64decode(text, validate=True) if text else None
    return None
