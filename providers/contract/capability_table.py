"""The table of what each provider can do, made from the plug-ins' declarations. In the docs and on a screen."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from providers.contract.base import AnyProvider
from providers.contract.capabilities import Capabilities, ExpirySetBy, Proof, Renewal, SecretMadeBy

RENEWAL = {
    Renewal.NONE: "does not expire",
    Renewal.UPDATE: "by an update; if that does not help, by a new registration",
    Renewal.REPLACE: "by a new registration",
}
EXPIRY = {ExpirySetBy.NOBODY: "nobody", ExpirySetBy.PROVIDER: "the provider", ExpirySetBy.US: "we do"}
PROOF = {
    Proof.HEADER: "a shared secret in a header",
    Proof.HMAC: "an HMAC over the body",
    Proof.RFC9421: "an HTTP message signature (RFC 9421)",
    Proof.URL: "the secret URL only",
}
SECRET = {SecretMadeBy.US: "we do", SecretMadeBy.PROVIDER: "the provider, shown once", SecretMadeBy.NOBODY: "nobody"}


@dataclass(frozen=True, slots=True)
class Row:
    """One question, and each provider's answer to it."""

    question: str
    answers: tuple[str, ...]


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _limit(can: Capabilities) -> str:
    parts = [
        f"{can.rate_limit.per_second:g} a second" if can.rate_limit.per_second else "",
        f"{can.rate_limit.per_day} a day" if can.rate_limit.per_day else "",
    ]
    return ", ".join(part for part in parts if part) or "not known"


def _switching(can: Capabilities) -> str:
    if can.can_set_status:
        return "by a call"
    return "on by an update, off by deleting" if can.update_may_enable else "by deleting and registering again"


def _changing(can: Capabilities) -> str:
    if not can.can_update:
        return "by a new registration"
    fixed = ", ".join(can.immutable_fields)
    return f"in place, but {fixed} by a new registration" if fixed else "in place"


QUESTIONS: tuple[tuple[str, Callable[[AnyProvider], str]], ...] = (
    ("Event types", lambda p: str(len(p.single_event_types))),
    ("Registrations can be listed", lambda p: _yes(p.capabilities.can_list)),
    ("Callback URLs can be read back", lambda p: _yes(p.capabilities.reveals_url)),
    ("Changed", lambda p: _changing(p.capabilities)),
    ("Switched off and on", lambda p: _switching(p.capabilities)),
    ("Renewed", lambda p: RENEWAL[p.capabilities.renewal]),
    ("Who sets the expiry", lambda p: EXPIRY[p.capabilities.expiry_set_by]),
    ("Test call", lambda p: _yes(p.capabilities.can_test)),
    ("Tells whose credentials they are", lambda p: _yes(p.capabilities.can_identify)),
    ("Requests are proven by", lambda p: PROOF[p.capabilities.proof]),
    ("Who makes the secret", lambda p: SECRET[p.capabilities.secret_made_by]),
    ("Calls us with", lambda p: ", ".join(p.capabilities.methods)),
    ("Events carry an id", lambda p: _yes(p.capabilities.has_event_id)),
    ("May send files", lambda p: _yes(p.capabilities.sends_files)),
    ("Wants an answer within", lambda p: f"{p.capabilities.answer_within:g} s"),
    ("Personal data in events", lambda p: p.capabilities.personal_data or "not known"),
    ("Keeping for (days), suggested", lambda p: str(p.capabilities.retention_days)),
    ("Calls that it allows", lambda p: _limit(p.capabilities)),
)


def rows(providers: Iterable[AnyProvider]) -> list[Row]:
    """The table, one row a question; the answers stand in the order of the providers."""
    found = list(providers)
    return [Row(question, tuple(answer(provider) for provider in found)) for question, answer in QUESTIONS]


def as_markdown(providers: Iterable[AnyProvider]) -> str:
    """The table and each provider's notes, as `docs/providers.md` has them."""
    found = list(providers)
    lines = [
        "# Providers",
        "",
        "Made by `make docs` from what the plug-ins declare; do not edit. How to get credentials, and every setting,",
        "stands in each provider's own page.",
        "",
        "| | " + " | ".join(_page(provider) for provider in found) + " |",
        "|---" * (len(found) + 1) + "|",
        *("| " + " | ".join((row.question, *row.answers)) + " |" for row in rows(found)),
    ]
    for provider in found:
        if provider.capabilities.notes:
            lines += ["", f"## {provider.name}: not confirmed", ""]
            lines += [f"- {note}" for note in provider.capabilities.notes]
    return "\n".join(lines) + "\n"


def _page(provider: AnyProvider) -> str:
    return f"[{provider.name}](../providers/{provider.slug.replace('-', '_')}/README.md)"
