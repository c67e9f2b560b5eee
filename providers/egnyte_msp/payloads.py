"""Check the bodies of Egnyte MSP's documented events; so far Egnyte documents one event type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from providers.contract.errors import InvalidInput
from providers.contract.schemas import validate
from providers.egnyte_msp.event_types import LINK_NFR


class LinkNfrManually(BaseModel):
    """The body of RESELLER_LINK_NFR_MANUALLY: an NFR domain was linked to the reseller manually.

    All fields are required; other fields are allowed (source: Egnyte's "MSP Webhooks Receiver specification").
    """

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    reseller_code: str
    first_name: str
    last_name: str
    email: str
    company_name: str
    transaction_timestamp: Any  # an unreadable time does not make the event unreadable
    event_created_by: str
    is_event_by_staff_user: bool
    nfr_domain_name: str
    nfr_plan: str
    power_users: int
    storage: int


DOCUMENTED: Mapping[str, type[BaseModel]] = {LINK_NFR: LinkNfrManually}


def field_errors(event_type: str, element: Mapping[str, object]) -> str | None:
    """Return a message that names every invalid field, without values. None if all are valid or it is undocumented."""
    model = DOCUMENTED.get(event_type)
    if model is None:
        return None
    try:
        validate(model, element)
    except InvalidInput as error:
        fields = "; ".join(f"`{item.field}`: {item.message.rstrip('.')}" for item in error.errors)
        return f"{event_type} has wrong fields. {fields}."
    return None
