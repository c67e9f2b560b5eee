"""The event types of Entrust Identity as a Service.

Source: the enum of webhook event types in Entrust's Administration API 5.46. Earlier versions accepted any text (the
documentation then named `user.create` and similar types), so other types are accepted unchanged.
"""

from __future__ import annotations

from providers.contract.capabilities import Action, EventType

USERS = "Users"
AUTHENTICATION = "Authentication"
PASSWORDS = "Passwords"
MAGIC_LINKS = "Magic links"
GRIDS = "Grid cards"
PASSKEYS = "Passkeys"
QUESTIONS = "Knowledge-based questions"
TOKENS = "Tokens"
FACES = "Face biometrics"
CREDENTIALS = "Issued credentials"

EVENT_TYPES: tuple[EventType, ...] = (
    EventType("user.created", Action.CREATED, USERS, "User created", "user"),
    EventType("user.updated", Action.UPDATED, USERS, "User updated", "user"),
    EventType("user.deleted", Action.DELETED, USERS, "User deleted", "user"),
    EventType("user.registration.completed", Action.COMPLETED, USERS, "Registration completed", "user"),
    EventType("authentication.succeeded", Action.SUCCEEDED, AUTHENTICATION, "Authentication succeeded", "user"),
    EventType("authentication.failed", Action.FAILED, AUTHENTICATION, "Authentication failed", "user"),
    EventType("password.updated", Action.UPDATED, PASSWORDS, "Password changed", "password"),
    EventType("magiclink.email.sent", Action.SENT, MAGIC_LINKS, "Magic link sent by email", "magic_link"),
    EventType("grid.created", Action.CREATED, GRIDS, "Grid card created", "grid"),
    EventType("grid.email.sent", Action.SENT, GRIDS, "Grid card sent by email", "grid"),
    EventType("grid.password.email.sent", Action.SENT, GRIDS, "Password of a grid card sent by email", "grid"),
    EventType("passkey.created", Action.CREATED, PASSKEYS, "Passkey created", "passkey"),
    EventType("passkey.updated", Action.UPDATED, PASSKEYS, "Passkey updated", "passkey"),
    EventType("passkey.deleted", Action.DELETED, PASSKEYS, "Passkey deleted", "passkey"),
    EventType("kba.question.created", Action.CREATED, QUESTIONS, "Question and answer set", "kba_question"),
    EventType("token.created", Action.CREATED, TOKENS, "Token created", "token"),
    EventType("token.activated", Action.ACTIVATED, TOKENS, "Token activated", "token"),
    EventType("token.activated.online", Action.ACTIVATED, TOKENS, "Token activated online", "token"),
    EventType("token.seed.rotated", Action.UPDATED, TOKENS, "Seed of a token rotated", "token"),
    EventType("hardware.token.assigned", Action.UPDATED, TOKENS, "Hardware token assigned to a user", "token"),
    EventType("face.biometric.created", Action.CREATED, FACES, "Face biometric created", "face_biometric"),
    EventType("credential.create", Action.CREATED, CREDENTIALS, "Credential created", "credential"),
    EventType("credential.update", Action.UPDATED, CREDENTIALS, "Credential updated", "credential"),
    EventType("credential.delete", Action.DELETED, CREDENTIALS, "Credential deleted", "credential"),
    EventType("credential.print", Action.OTHER, CREDENTIALS, "Credential printed", "credential"),
)

# Entrust's `entityType` values, used for event types that are not declared above.
RESOURCE_TYPES = {
    "USERS": "user",
    "GRIDS": "grid",
    "FIDOTOKENS": "passkey",
    "MAGICLINKS": "magic_link",
    "TOKENS": "token",
}
