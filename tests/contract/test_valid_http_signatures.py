"""HTTP message signatures that are accepted, with the examples of RFC 9421."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from providers.contract.http_signatures import Match, Policy, check_content_digest, verify_hmac
from providers.contract.signature_components import Message, SignatureRefused
from tests.contract.signed_messages import (
    BODY,
    COVERED,
    CREATED,
    KEY,
    NOW,
    POLICY,
    URI,
    b64,
    digest_of,
    header,
    refusal,
    signature,
    signed,
    with_header,
)

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


def test_the_example_of_the_rfc_is_verified() -> None:
    policy = Policy(("date", "@authority", "content-type"))
    assert verify_hmac(RFC_MESSAGE, [b"another", RFC_KEY], policy, NOW) == Match("sig-b25", 1)
    check_content_digest(RFC_MESSAGE)
    assert "does not cover @method, @target-uri" in refusal(RFC_MESSAGE, POLICY, [RFC_KEY])


# Signature bases as the RFC prints them. The RFC signs them with keys of other algorithms, so they are signed here.
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
    """Return the message with a signature over exactly this base."""
    raw = base.rpartition('"@signature-params": ')[2]
    signature_value = b64(hmac.new(RFC_KEY, base.encode(), hashlib.sha256).digest())
    return with_header(with_header(message, "Signature-Input", f"sig={raw}"), "Signature", f"sig=:{signature_value}:")


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


def test_header_case_and_order_do_not_matter() -> None:
    message = signed()
    shouted = tuple((name.upper(), value) for name, value in reversed(message.headers))
    assert verify_hmac(replace(message, headers=shouted), [KEY], POLICY, NOW) == Match("sig", 0)


@pytest.mark.parametrize("name", ["sha-256", "sha-512"])
def test_both_digest_algorithms_are_accepted(name: str) -> None:
    assert verify_hmac(signed(digest=digest_of(BODY, name)), [KEY], POLICY, NOW)


def test_all_known_digests_must_match_and_unknown_ones_are_ignored() -> None:
    both = f"{digest_of(BODY, 'sha-512')}, md5=:AAAA:, {digest_of(BODY)}"
    assert verify_hmac(signed(digest=both), [KEY], POLICY, NOW)
    assert "sha-512 in Content-Digest" in refusal(signed(digest=f"{digest_of(BODY)}, sha-512=:AAAA:"))
    assert "has none of sha-256, sha-512" in refusal(signed(digest="md5=:AAAA:"))


@pytest.mark.parametrize(
    "components",
    [
        tuple(reversed(COVERED)),  # in the signer's order
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
def test_parameters_are_compared_byte_for_byte_and_in_canonical_form(parameters: str) -> None:
    message = signed(parameters=parameters)
    assert verify_hmac(message, [KEY], POLICY, NOW)
    spaced = header(message, "Signature-Input").replace('("@method"', '(  "@method"')
    assert (";  " in parameters) == _is_refused(with_header(message, "Signature-Input", spaced))
    other = header(message, "Signature-Input").replace('"@method"', '"@scheme"')
    assert _is_refused(with_header(message, "Signature-Input", other))


def _is_refused(message: Message) -> bool:
    try:
        return not verify_hmac(message, [KEY], POLICY, NOW)
    except SignatureRefused:
        return True


def resigned(message: Message, components: str, lines: Sequence[str]) -> Message:
    """Return the message with a signature over these lines."""
    message = with_header(message, "Signature-Input", f"sig=({components})")
    return with_header(message, "Signature", f"sig=:{signature(f'({components})', lines)}:")


BOTH_DIGESTS = f"{digest_of(BODY, 'sha-512')}, {digest_of(BODY)}"
REQUIRED_LINES = ('"@method": POST', f'"@target-uri": {URI}')


@pytest.mark.parametrize("joined", [BOTH_DIGESTS.replace(", ", ","), BOTH_DIGESTS.replace(", ", " ,\t"), BOTH_DIGESTS])
def test_header_lines_that_a_server_joined_are_verified(joined: str) -> None:
    signed_digest = f'"content-digest": {BOTH_DIGESTS}'
    message = resigned(signed(), '"@method" "@target-uri" "content-digest"', (*REQUIRED_LINES, signed_digest))
    assert verify_hmac(with_header(message, "Content-Digest", joined), [KEY], POLICY, NOW)
    apart = tuple(("Content-Digest", line) for line in BOTH_DIGESTS.split(", "))
    rest = tuple(item for item in message.headers if item[0] != "Content-Digest")
    assert verify_hmac(replace(message, headers=(*rest, *apart)), [KEY], POLICY, NOW)
    assert _is_refused(with_header(message, "Content-Digest", digest_of(BODY)))


def test_repeated_lines_are_verified() -> None:
    digest = digest_of(BODY)
    lines = (*REQUIRED_LINES, f'"content-digest": {digest}, {digest}')
    message = resigned(signed(), '"@method" "@target-uri" "content-digest"', lines)
    twice = replace(message, headers=(*message.headers, *message.headers))
    assert verify_hmac(twice, [KEY], POLICY, NOW)


def test_unpadded_base64_is_accepted() -> None:
    message = signed()
    for name in ("Content-Digest", "Signature"):
        changed = with_header(message, name, re.sub("=+:$", ":", header(message, name)))
        assert changed != message
        if name == "Signature":
            assert verify_hmac(changed, [KEY], POLICY, NOW)
        else:
            check_content_digest(changed)


SPACED = f"{digest_of(BODY)},   x=:AAAA:;  a"


@pytest.mark.parametrize(
    ("components", "lines"),
    [
        ('"content-digest";sf', [f'"content-digest";sf: {digest_of(BODY)}, x=:AAAA:;a']),
        ('"content-digest"; sf', [f'"content-digest";sf: {digest_of(BODY)}, x=:AAAA:;a']),
        ('"content-digest";bs', [f'"content-digest";bs: :{b64(SPACED.encode())}:']),
        ('"content-digest";key="sha-256"', [f'"content-digest";key="sha-256": {digest_of(BODY)[8:]}']),
        ('"content-digest" "x-list";sf', [f'"content-digest": {SPACED}', '"x-list";sf: "a", 1;b']),
        ('"content-digest" "x-item";sf', [f'"content-digest": {SPACED}', '"x-item";sf: 1.5']),
        ('"content-digest" "x-dict";key="a"', [f'"content-digest": {SPACED}', '"x-dict";key="a": (1 2);x']),
        ('"content-digest" "x-twice";bs',
         [f'"content-digest": {SPACED}', f'"x-twice";bs: :{b64(b"a, b")}:, :{b64(b"c")}:']),
        ('"content-digest" "@query-param";name="a"', [f'"content-digest": {SPACED}', '"@query-param";name="a": %2F']),
        ('"content-digest" "@query-param";name="b"', [f'"content-digest": {SPACED}', '"@query-param";name="b": ']),
    ],
)  # fmt: skip
def test_components_with_parameters_are_verified(components: str, lines: list[str]) -> None:
    extra = (
        ("X-List", ' "a" ,1; b'),
        ("X-Item", "1.50"),
        ("X-Dict", "b, a=( 1  2 );x"),
        ("X-Twice", "a, b"),
        ("X-Twice", " c"),
    )
    message = with_header(signed(extra=extra), "Content-Digest", SPACED)
    message = resigned(message, f'"@method" "@target-uri" {components}', [*REQUIRED_LINES, *lines])
    assert verify_hmac(message, [KEY], POLICY, NOW)
    assert _is_refused(replace(message, body=BODY + b" "))


def test_query_parameters_are_encoded_as_in_the_rfc() -> None:
    # RFC 9421, section 2.2.8
    query = (
        "var=this%20is%20a%20big%0Amultiline%20value&bar=with+plus+whitespace"
        "&fa%C3%A7ade%22%3A%20=something&twice=1&twice=2"
    )
    message = replace(RFC_MESSAGE, target_uri=f"https://www.example.com/parameters?{query}")
    base = """\
"@query-param";name="var": this%20is%20a%20big%0Amultiline%20value
"@query-param";name="bar": with%20plus%20whitespace
"@query-param";name="fa%C3%A7ade%22%3A%20": something
"@signature-params": ("@query-param";name="var" "@query-param";name="bar" "@query-param";name="fa%C3%A7ade%22%3A%20")"""
    assert verify_hmac(signed_base(message, base), [RFC_KEY], Policy(()), NOW) == Match("sig", 0)
    twice = signed_base(message, '"@query-param";name="twice": 1\n"@signature-params": ("@query-param";name="twice")')
    assert "2 times instead of once" in refusal(twice, Policy(()), [RFC_KEY])


def test_signed_extra_spaces_are_accepted() -> None:
    raw = '(  "@method"   "@target-uri" "content-digest" );  created=1'
    lines = ['"@method": POST', f'"@target-uri": {URI}', f'"content-digest": {digest_of(BODY)}']
    message = with_header(signed(), "Signature-Input", f"x={raw}")
    message = with_header(message, "Signature", f"x=:{signature(raw, lines)}:")
    assert verify_hmac(message, [KEY], POLICY, NOW) == Match("x", 0)


@pytest.mark.parametrize("first", [True, False])
def test_one_sufficient_signature_of_two_is_enough(first: bool) -> None:
    good, other = signed(label="good"), signed(("@method",), label="other", key=b"theirs")
    pair = (good, other) if first else (other, good)
    headers = (
        ("Content-Digest", digest_of(BODY)),
        # Two headers, and one header with joined values: both are valid.
        *(("Signature-Input", header(message, "Signature-Input")) for message in pair),
        ("Signature", " , ".join(header(message, "Signature") for message in pair)),
    )
    assert verify_hmac(replace(good, headers=headers), [KEY], POLICY, NOW) == Match("good", 0)
