"""Generate sample events of a simulated reseller: trials, invoices, users and the account.

Only the fields of RESELLER_LINK_NFR_MANUALLY are documented. The first nine of them are in every event here; the other
fields of other types are invented. State is remembered: a trial that expires or becomes paid was created before, and an
invoice is generated, edited and paid under one number.
"""

from __future__ import annotations

import random
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from providers.sandbox.tenant import Event, iso

CUSTOMERS = (
    "Alder Dental Group", "Bayview Architects", "Cobalt Robotics", "Dunmore Legal", "Eastgate Clinics",
    "Fjord Logistics", "Granite Builders", "Harbour Foods", "Ivy Lane Schools", "Juniper Media",
)  # fmt: skip
STAFF = ("Egnyte Partner Desk", "Nora Blake", "Omar Aziz")
NEW_USERS = ("Lena Fischer", "Mateo Silva", "Nina Kowalska", "Oscar Lind", "Priya Raman", "Quentin Moreau")
ROLES = ("Administrator", "Billing", "Sales", "Technician")
PLANS = ("Business", "Enterprise", "Enterprise Lite", "Platform")
CARDS = ("Visa", "Mastercard", "American Express")
PROFILE_FIELDS = ("address", "phone", "time_zone", "website")
METHODS = ("authenticator_app", "sms")

Data = dict[str, object]


@dataclass(frozen=True, slots=True)
class Reseller:
    """A managed service provider. The first of its people owns the account."""

    code: str
    company: str
    nfr_domain: str
    people: tuple[str, ...]

    def email_of(self, person: str) -> str:
        """Return the email address of one of its people."""
        return f"{person.lower().replace(' ', '.')}@{self.nfr_domain}.example"


@dataclass(frozen=True, slots=True)
class Trial:
    """A customer's trial domain."""

    customer: str
    domain: str
    plan: str
    power_users: int
    storage: int


@dataclass(frozen=True, slots=True)
class Invoice:
    """An open invoice; `cents` is its amount."""

    number: str
    kind: str
    cents: int


class SampleReseller:
    """One reseller and its customers. Not thread-safe; the simulator's lock guards it."""

    def __init__(self, reseller: Reseller, generator: random.Random) -> None:
        self.reseller = reseller
        self._random = generator
        self._trials: dict[str, deque[Trial]] = {"CONNECT": deque(maxlen=50), "PROTECT": deque(maxlen=50)}
        self._invoices: deque[Invoice] = deque(maxlen=50)
        self._users: deque[str] = deque(reseller.people, maxlen=50)
        self._revenue = 120_000  # cents per month
        self._number = 2000
        self._last_at = 0.0

    def event(self, event_type: str) -> Event:
        """Return an event of any type."""
        owner = self.reseller.people[0]
        first, last = owner.split()
        by_staff = event_type == "RESELLER_LINK_NFR_MANUALLY" or self._random.random() < 0.1
        body: Data = {
            "event_type": event_type,
            "reseller_code": self.reseller.code,
            "first_name": first,
            "last_name": last,
            "email": self.reseller.email_of(owner),
            "company_name": self.reseller.company,
            "transaction_timestamp": self._now(),
            "event_created_by": self._random.choice(STAFF if by_staff else self.reseller.people),
            "is_event_by_staff_user": by_staff,
            **self._type_fields(event_type),
        }
        # The ID only distinguishes deliveries in the sandbox; it is not sent.
        return Event(id=str(uuid.uuid4()), type=event_type, body=body)

    # -- Values --------------------------------------------------------------------------------------------------

    def _now(self) -> str | None:
        """Return a unique time: without event IDs, only the time distinguishes two equal events."""
        self._last_at = max(time.time(), self._last_at + 0.001)
        return iso(self._last_at)

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    def _day(self, days: int) -> str:
        return (datetime.now(UTC) + timedelta(days=days)).date().isoformat()

    def _amount(self, cents: int) -> str:
        return f"{cents / 100:.2f}"

    # -- Fields by event type ------------------------------------------------------------------------------------

    def _type_fields(self, event_type: str) -> Data:
        builders: Mapping[str, Callable[[], Data]] = {
            "RESELLER_LINK_NFR_MANUALLY": self._nfr_linked,
            "RESELLER_CREATED_CONNECT_TRIAL": lambda: self._trial_created("CONNECT"),
            "RESELLER_CREATED_PROTECT_TRIAL": lambda: self._trial_created("PROTECT"),
            "RESELLER_CONVERTED_CONNECT_TRIAL_TO_PAID": lambda: self._trial_paid("CONNECT"),
            "RESELLER_CONVERTED_PROTECT_TRIAL_TO_PAID": lambda: self._trial_paid("PROTECT"),
            "RESELLER_CONNECT_TRIAL_EXPIRED": self._trial_expired,
            "RESELLER_PROFILE_UPDATED": self._profile_updated,
            "RESELLER_MRR_CHANGED": self._revenue_changed,
            "RESELLER_FIRST_LOGIN": lambda: {"login_domain": self.reseller.nfr_domain},
            "RESELLER_CC_ADDED": self._card_added,
            "RESELLER_PVI_ADDED": lambda: {"pvi_reference": f"PVI-{self._next_number()}"},
            "USER_ADDED": self._user_added,
            "RESELLER_TFA_ENABLED": lambda: {"tfa_enabled_for": "all_users"},
            "RESELLER_TFA_ENROLLED": lambda: {"tfa_method": self._random.choice(METHODS)},
            "USER_TFA_ENABLED": self._existing_user,
            "USER_TFA_ENROLLED": lambda: {**self._existing_user(), "tfa_method": self._random.choice(METHODS)},
            "RESELLER_UPSELL_INVOICE_GENERATED": lambda: self._invoice_generated("upsell"),
            "RESELLER_RECURRING_INVOICE_GENERATED": lambda: self._invoice_generated("recurring"),
            "RESELLER_INVOICE_EDITED": self._invoice_edited,
            "RESELLER_INVOICE_PAID": self._invoice_paid,
        }
        builder = builders.get(event_type)
        return builder() if builder else {}

    def _nfr_linked(self) -> Data:
        return {
            "nfr_domain_name": self.reseller.nfr_domain,
            "nfr_plan": self._random.choice(PLANS),
            "power_users": self._random.choice((5, 10, 25)),
            "storage": self._random.choice((500, 1000, 5000)),
        }

    def _trial_created(self, product: str) -> Data:
        return {**_trial_fields(self._new_trial(product)), "trial_end_date": self._day(15)}

    def _new_trial(self, product: str) -> Trial:
        customer = self._random.choice(CUSTOMERS)
        trial = Trial(
            customer=customer,
            domain=f"{customer.partition(' ')[0].lower()}{self._next_number()}",
            plan=self._random.choice(PLANS) if product == "CONNECT" else "Protect",
            power_users=self._random.choice((5, 10, 25, 50)),
            storage=self._random.choice((500, 1000, 2000)),
        )
        self._trials[product].append(trial)
        return trial

    def _ended_trial(self, product: str) -> Trial:
        trials = self._trials[product]
        trial = self._random.choice(trials) if trials else self._new_trial(product)
        trials.remove(trial)
        return trial

    def _trial_paid(self, product: str) -> Data:
        trial = self._ended_trial(product)
        return {**_trial_fields(trial), "monthly_amount": self._amount(trial.power_users * 2000), "currency": "USD"}

    def _trial_expired(self) -> Data:
        return {**_trial_fields(self._ended_trial("CONNECT")), "trial_end_date": self._day(0)}

    def _profile_updated(self) -> Data:
        count = self._random.randint(1, 2)
        return {"updated_fields": sorted(self._random.sample(PROFILE_FIELDS, count))}

    def _revenue_changed(self) -> Data:
        before = self._revenue
        self._revenue = max(10_000, before + self._random.choice((-15_000, -2_000, 4_000, 20_000)))
        return {
            "previous_mrr": self._amount(before),
            "current_mrr": self._amount(self._revenue),
            "currency": "USD",
        }

    def _card_added(self) -> Data:
        return {
            "card_type": self._random.choice(CARDS),
            "card_last_four_digits": f"{self._random.randrange(10_000):04}",
            "card_expires": f"{self._random.randint(1, 12):02}/{self._random.randint(2028, 2032)}",
        }

    def _user_added(self) -> Data:
        user = self._random.choice(NEW_USERS)
        if user not in self._users:
            self._users.append(user)
        return {**self._user(user), "user_role": self._random.choice(ROLES)}

    def _existing_user(self) -> Data:
        return self._user(self._random.choice(self._users))

    def _user(self, name: str) -> Data:
        first, last = name.split()
        return {"user_first_name": first, "user_last_name": last, "user_email": self.reseller.email_of(name)}

    def _invoice_generated(self, kind: str) -> Data:
        return self._invoice_fields(self._new_invoice(kind), due_date=self._day(30))

    def _new_invoice(self, kind: str) -> Invoice:
        cents = self._revenue if kind == "recurring" else self._random.randrange(5_000, 90_000, 500)
        invoice = Invoice(f"INV-{self._next_number():06}", kind, cents)
        self._invoices.append(invoice)
        return invoice

    def _open_invoice(self) -> Invoice:
        return self._random.choice(self._invoices) if self._invoices else self._new_invoice("recurring")

    def _invoice_edited(self) -> Data:
        before = self._open_invoice()
        after = Invoice(before.number, before.kind, max(500, before.cents + self._random.choice((-5_000, 2_500))))
        self._invoices[self._invoices.index(before)] = after
        return self._invoice_fields(after, previous_amount=self._amount(before.cents), due_date=self._day(30))

    def _invoice_paid(self) -> Data:
        invoice = self._open_invoice()
        self._invoices.remove(invoice)
        return self._invoice_fields(
            invoice, paid_on=self._day(0), payment_method=self._random.choice(("card", "bank_transfer"))
        )

    def _invoice_fields(self, invoice: Invoice, **extra: object) -> Data:
        return {
            "invoice_number": invoice.number,
            "invoice_type": invoice.kind,
            "amount": self._amount(invoice.cents),
            "currency": "USD",
            **extra,
        }


def _trial_fields(trial: Trial) -> Data:
    return {
        "customer_name": trial.customer,
        "trial_domain_name": trial.domain,
        "plan_name": trial.plan,
        "power_users": trial.power_users,
        "storage": trial.storage,
    }
