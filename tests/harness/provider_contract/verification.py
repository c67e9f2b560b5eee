"""Tests of verifying webhook requests."""

from __future__ import annotations

from providers.contract.capabilities import Proof
from providers.contract.parsing import VerificationResult
from tests.harness.inbound import inbound
from tests.harness.provider_contract.base import ContractBase


class VerificationTests(ContractBase):
    """Verification of webhook requests."""

    def test_an_authentic_request_is_verified(self) -> None:
        secret = self.secret()
        verification = self.provider.verify(self.signed(inbound(b"[]"), secret), [secret], self.checked_settings())
        assert (verification.result, verification.secret_index) == self.expected_success(0)
        assert verification.detail

    def test_every_accepted_secret_verifies_during_a_rotation(self) -> None:
        old, new = self.secret(), self.secret()
        verification = self.provider.verify(self.signed(inbound(b"[]"), old), [new, old], self.checked_settings())
        assert (verification.result, verification.secret_index) == self.expected_success(1)

    def test_a_wrong_secret_fails(self) -> None:
        request = self.signed(inbound(b"[]"), self.secret())
        verification = self.provider.verify(request, [self.secret()], self.checked_settings())
        assert verification.result is self.expected_failure()
        assert verification.secret_index is None

    def test_missing_authentication_fails(self) -> None:
        for secrets in ([self.secret()], [], [""]):
            verification = self.provider.verify(inbound(b"[]"), secrets, self.checked_settings())
            assert verification.result is self.expected_failure()
            assert verification.detail

    def test_verification_never_raises_and_never_shows_the_secret(self) -> None:
        secret = self.secret()
        values = ("", " ", "\x00", "\ud800", "ü" * 5000, "Bearer", "sig=:AAAA:", secret[:-1], secret + "x")
        for name in ("Authorization", "Signature", "Content-Digest", "X-Odd", ""):
            for value in values:
                request = inbound(b"\xff", headers=((name, value),) * 2)
                verification = self.provider.verify(request, [secret], self.checked_settings())
                assert verification.result is self.expected_failure()
                assert secret not in verification.detail

    def test_headers_with_a_secret_are_named(self) -> None:
        secret = self.secret()
        request = self.signed(inbound(b"[]"), secret)
        verification = self.provider.verify(request, [secret], self.checked_settings())
        carrying = {name for name, value in request.headers if secret in value}
        assert carrying <= set(verification.proof_headers)

    def test_the_header_of_the_hint_is_sensitive(self) -> None:
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
            verification = self.provider.verify(request, [secret], self.checked_settings())
            assert verification.result is VerificationResult.VERIFIED

    def test_new_secrets_are_unique_and_fit_into_a_header(self) -> None:
        secrets = {self.provider.new_secret() for _ in range(20)}
        assert len(secrets) == 20
        assert all(len(secret) >= 32 and secret.isascii() and secret.isprintable() for secret in secrets)
        assert all(secret == secret.strip() for secret in secrets)
