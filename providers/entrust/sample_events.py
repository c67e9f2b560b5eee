"""Generate sample events of a simulated Entrust customer.

The envelope and the attributes of user.created, authentication.succeeded, grid.created, passkey.created and
magiclink.email.sent follow Entrust's samples; the other attributes are undocumented and invented in the same style.
Users are remembered, so that a user keeps the same ID in later events.
"""

from __future__ import annotations

import random
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from providers.sandbox.tenant import Event

NAMES = (
    "Ann Lee", "Ben Okafor", "Carla Rossi", "Dmitri Sokolov", "Emma Larsen", "Farid Haddad", "Grace Kim", "Hugo Martin",
    "Ines Carvalho", "Jonas Weber", "Kavya Nair", "Liam Murphy",
)  # fmt: skip
METHODS = ("PASSWORD", "OTP", "TOKEN", "TOKENPUSH", "GRID", "FIDO", "MAGICLINK", "KBA", "FACE")
SITES = (("login.example.test", "https://login.example.test"), ("shop.example.test", "https://shop.example.test"))
TOKEN_TYPES = ("ENTRUST_SOFT_TOKEN", "GOOGLE_AUTHENTICATOR", "ENTRUST_LEGACY_TOKEN")
QUESTIONS = ("Name of your first pet?", "City in which you were born?", "Your first school?")
DESIGNS = (
    ("5d0e9a3c-2a51-4a0e-9a44-0f5d6d1c7b21", "Employee badge"),
    ("b1a4c6de-7f0e-4c39-8d1a-3e2f90a6c754", "Visitor badge"),
)

Attributes = dict[str, object]


@dataclass(frozen=True, slots=True)
class User:
    """A user of the customer."""

    user_id: str
    id: str
    first: str
    last: str
    email: str


@dataclass(frozen=True, slots=True)
class Entity:
    """The entity that an event is about."""

    type: str
    id: str
    name: str
    attributes: Attributes


class SampleCustomer:
    """One customer and its users. Not thread-safe; the simulator's lock protects it."""

    def __init__(self, customer: str, account_id: str, generator: random.Random) -> None:
        self.customer = customer
        self.account_id = account_id
        self._random = generator
        self._users: deque[User] = deque(maxlen=100)
        self._serial = generator.randrange(10_000, 20_000)

    def event(self, event_type: str) -> Event:
        """Return a new event of any type."""
        entity, actor = self._entity(event_type)
        # Installations keep received events, so an ID must not repeat, not even after a restart.
        event_id = _time_ordered_id()
        data: Attributes = {
            **self._subject(actor),
            "resourceName": event_type.rpartition(".")[0].upper().replace(".", "_"),
            "sourceIp": f"192.0.2.{self._random.randint(1, 254)}",
            "entityType": entity.type,
            "entityId": entity.id,
            "entityName": entity.name,
            "entityAttributes": entity.attributes,
        }
        if event_type.startswith("authentication."):
            data["token"] = self._random.choice(METHODS)  # the authentication method, not a secret
        body = {
            "id": event_id,
            "type": event_type,
            "accountId": self.account_id,
            "eventTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "data": data,
        }
        return Event(id=event_id, type=event_type, body=body)

    # -- Users ---------------------------------------------------------------------------------------------------

    def _new_user(self) -> User:
        first, last = self._random.choice(NAMES).split()
        name = f"{first[0]}{last}{self._next_number()}".lower()
        user = User(name, str(uuid.uuid4()), first, last, f"{first}.{last}@{self.customer}.example".lower())
        self._users.append(user)
        return user

    def _any_user(self) -> User:
        return self._random.choice(self._users) if self._users else self._new_user()

    def _subject(self, actor: User | None) -> Attributes:
        """Return the attributes of the acting user, or of one of two administrators."""
        if actor:
            return {"subject": actor.id, "subjectName": actor.user_id, "subjectType": "USER"}
        number = self._random.randint(1, 2)
        return {
            "subject": str(uuid.uuid5(uuid.NAMESPACE_DNS, f"admin{number}.{self.customer}.example")),
            "subjectName": f"admin{number}",
            "subjectType": "USER",
            "subscriberAdminRoleName": "Super Administrator",
        }

    def _next_number(self) -> int:
        self._serial += 1
        return self._serial

    # -- Entities ------------------------------------------------------------------------------------------------

    def _entity(self, event_type: str) -> tuple[Entity, User | None]:
        """Return the entity of an event and the acting user (None: an administrator)."""
        builders: Mapping[str, Callable[[str], tuple[Entity, User | None]]] = {
            "user": self._user,
            "authentication": self._authentication,
            "password": self._password,
            "magiclink": self._magic_link,
            "grid": self._grid,
            "passkey": self._passkey,
            "kba": self._question,
            "token": self._token,
            "hardware": self._token,
            "face": self._face,
            "credential": self._credential,
        }
        return builders.get(event_type.partition(".")[0], self._other)(event_type)

    def _user(self, event_type: str) -> tuple[Entity, User | None]:
        user = self._new_user() if event_type == "user.created" else self._any_user()
        if event_type == "user.deleted":
            self._users.remove(user)
        attributes: Attributes = {"userId": user.user_id, "firstName": user.first, "lastName": user.last}
        entity = Entity("USERS", user.id, user.user_id, {**attributes, "email": user.email})
        return entity, user if event_type == "user.registration.completed" else None

    def _authentication(self, event_type: str) -> tuple[Entity, User | None]:
        user = self._any_user()
        attributes: Attributes = {"registrationRequired": "false"}
        if event_type == "authentication.failed":
            attributes = {"reason": self._random.choice(("invalid_response", "user_locked", "expired"))}
        return Entity("USERS", user.id, user.user_id, attributes), user

    def _password(self, event_type: str) -> tuple[Entity, User | None]:
        user = self._any_user()
        return Entity("PASSWORDS", str(uuid.uuid4()), user.user_id, {"userId": user.user_id}), user

    def _magic_link(self, event_type: str) -> tuple[Entity, User | None]:
        user = self._any_user()
        attributes: Attributes = {"contactValue": user.email, "magicLinkType": "REGISTRATION", "contactType": "EMAIL"}
        return Entity("MAGICLINKS", str(uuid.uuid4()), user.user_id, attributes), None

    def _grid(self, event_type: str) -> tuple[Entity, User | None]:
        user, serial = self._any_user(), self._next_number()
        attributes: Attributes = {"serialNumber": serial, "userId": user.user_id}
        if event_type == "grid.created":
            created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            attributes |= {"expired": False, "state": "ACTIVE", "type": "GRID", "createDate": created}
        else:
            attributes["contactValue"] = user.email
        return Entity("GRIDS", str(uuid.uuid4()), str(serial), attributes), None

    def _passkey(self, event_type: str) -> tuple[Entity, User | None]:
        user = self._any_user()
        relying_party, origin = self._random.choice(SITES)
        attributes: Attributes = {"userIdStored": True, "relyingPartyId": relying_party, "origin": origin}
        return Entity("FIDOTOKENS", str(uuid.uuid4()), f"Passkey of {user.user_id}", attributes), user

    def _question(self, event_type: str) -> tuple[Entity, User | None]:
        user = self._any_user()
        attributes: Attributes = {"question": self._random.choice(QUESTIONS), "userId": user.user_id}
        return Entity("KBAS", str(uuid.uuid4()), user.user_id, attributes), user

    def _token(self, event_type: str) -> tuple[Entity, User | None]:
        user, serial = self._any_user(), str(self._next_number())
        kind = "ENTRUST_HARDWARE_TOKEN" if event_type.startswith("hardware") else self._random.choice(TOKEN_TYPES)
        state = "ACTIVATING" if event_type == "token.created" else "ACTIVE"
        attributes: Attributes = {"serialNumber": serial, "type": kind, "state": state, "userId": user.user_id}
        actor = user if event_type.startswith("token.activated") else None
        return Entity("TOKENS", str(uuid.uuid4()), serial, attributes), actor

    def _face(self, event_type: str) -> tuple[Entity, User | None]:
        user = self._any_user()
        attributes: Attributes = {"provider": "ONFIDO", "state": "ACTIVE", "userId": user.user_id}
        return Entity("FACES", str(uuid.uuid4()), user.user_id, attributes), user

    def _credential(self, event_type: str) -> tuple[Entity, User | None]:
        design_id, design = self._random.choice(DESIGNS)
        attributes: Attributes = {"enrollmentDesignId": design_id, "enrollmentDesignName": design}
        if event_type == "credential.print":
            attributes["printer"] = self._random.choice(("Lobby", "HR office"))
        return Entity("CREDENTIALS", str(uuid.uuid4()), f"{design} {self._next_number()}", attributes), None

    def _other(self, event_type: str) -> tuple[Entity, User | None]:
        return Entity("OTHERS", str(uuid.uuid4()), event_type, {}), None


def _time_ordered_id() -> str:
    """Return a UUID of version 7, as in Entrust's samples."""
    number = (int(time.time() * 1000) << 80) | (uuid.uuid4().int & ((1 << 80) - 1))
    number = (number & ~(0xF << 76)) | (7 << 76)
    return str(uuid.UUID(int=(number & ~(0x3 << 62)) | (0x2 << 62)))
