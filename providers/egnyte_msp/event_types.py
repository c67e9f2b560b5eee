"""The event types of Egnyte MSP.

Source: the event type enum of Egnyte's "MSP Public API" registration and receiver pages. They do not explain PVI.
"""

from __future__ import annotations

from collections.abc import Iterable

from providers.contract.capabilities import Action, EventType

NFR = "NFR domains"
TRIALS = "Trials"
ACCOUNT = "Account"
TWO_FACTOR = "Two-factor authentication"
INVOICES = "Invoices"

LINK_NFR = "RESELLER_LINK_NFR_MANUALLY"

# An expired trial is `completed`: nothing was deleted, and nothing failed.
EVENT_TYPES: tuple[EventType, ...] = (
    EventType(LINK_NFR, Action.CREATED, NFR, "NFR domain linked manually", "nfr_domain"),
    EventType("RESELLER_CREATED_CONNECT_TRIAL", Action.CREATED, TRIALS, "Connect trial created", "trial"),
    EventType("RESELLER_CREATED_PROTECT_TRIAL", Action.CREATED, TRIALS, "Protect trial created", "trial"),
    EventType(
        "RESELLER_CONVERTED_CONNECT_TRIAL_TO_PAID", Action.ACTIVATED, TRIALS, "Connect trial became paid", "trial"
    ),
    EventType(
        "RESELLER_CONVERTED_PROTECT_TRIAL_TO_PAID", Action.ACTIVATED, TRIALS, "Protect trial became paid", "trial"
    ),
    EventType("RESELLER_CONNECT_TRIAL_EXPIRED", Action.COMPLETED, TRIALS, "Connect trial expired", "trial"),
    EventType("RESELLER_PROFILE_UPDATED", Action.UPDATED, ACCOUNT, "Reseller profile updated", "reseller"),
    EventType("RESELLER_MRR_CHANGED", Action.UPDATED, ACCOUNT, "Monthly recurring revenue changed", "reseller"),
    EventType("RESELLER_FIRST_LOGIN", Action.ACTIVATED, ACCOUNT, "First login of the reseller", "reseller"),
    EventType("RESELLER_CC_ADDED", Action.CREATED, ACCOUNT, "Credit card added", "credit_card"),
    EventType("RESELLER_PVI_ADDED", Action.CREATED, ACCOUNT, "PVI added", "pvi"),
    EventType("USER_ADDED", Action.MEMBER_ADDED, ACCOUNT, "User added", "user"),
    EventType("RESELLER_TFA_ENABLED", Action.ACTIVATED, TWO_FACTOR, "Two-factor enabled by the reseller", "reseller"),
    EventType("RESELLER_TFA_ENROLLED", Action.COMPLETED, TWO_FACTOR, "Reseller enrolled in two-factor", "reseller"),
    EventType("USER_TFA_ENABLED", Action.ACTIVATED, TWO_FACTOR, "Two-factor enabled for a user", "user"),
    EventType("USER_TFA_ENROLLED", Action.COMPLETED, TWO_FACTOR, "User enrolled in two-factor", "user"),
    EventType("RESELLER_UPSELL_INVOICE_GENERATED", Action.CREATED, INVOICES, "Upsell invoice generated", "invoice"),
    EventType(
        "RESELLER_RECURRING_INVOICE_GENERATED", Action.CREATED, INVOICES, "Recurring invoice generated", "invoice"
    ),
    EventType("RESELLER_INVOICE_EDITED", Action.UPDATED, INVOICES, "Invoice edited", "invoice"),
    EventType("RESELLER_INVOICE_PAID", Action.COMPLETED, INVOICES, "Invoice paid", "invoice"),
)


def canonical(names: Iterable[str]) -> dict[str, object]:
    """Return the config in canonical form: event types trimmed, sorted and unique."""
    return {"event_types": sorted({name.strip() for name in names if name.strip()})}
