"""Models: subscriptions, operations at providers, problems, and notification channels."""

from subscriptions.models.callback_url import callback_url_for, new_token
from subscriptions.models.channel import Channel, ChannelKind, Message, MessageStatus, NotifiedProblem
from subscriptions.models.clock_mark import ClockMark
from subscriptions.models.desired_state import DRIFT_POLICIES, DesiredColumns, Managed
from subscriptions.models.former_secret import FormerSecret
from subscriptions.models.heartbeat import Heartbeat
from subscriptions.models.observed_state import LearnedColumns, ObservedColumns, SharedColumns
from subscriptions.models.operation import Operation, OperationStatus
from subscriptions.models.problem import (
    ACTIVE,
    NARROW_TO_BROAD,
    Problem,
    ProblemKind,
    ProblemQuerySet,
    ProblemState,
    ProblemTransition,
    Severity,
    SubjectType,
    Transition,
)
from subscriptions.models.remote import KnownRemote, RemoteNote
from subscriptions.models.status import State, StatusColumns
from subscriptions.models.subscription import Rotation, Subscription

__all__ = [
    "ACTIVE",
    "DRIFT_POLICIES",
    "NARROW_TO_BROAD",
    "Channel",
    "ChannelKind",
    "ClockMark",
    "DesiredColumns",
    "FormerSecret",
    "Heartbeat",
    "KnownRemote",
    "LearnedColumns",
    "Managed",
    "Message",
    "MessageStatus",
    "NotifiedProblem",
    "ObservedColumns",
    "Operation",
    "OperationStatus",
    "Problem",
    "ProblemKind",
    "ProblemQuerySet",
    "ProblemState",
    "ProblemTransition",
    "RemoteNote",
    "Rotation",
    "Severity",
    "SharedColumns",
    "State",
    "StatusColumns",
    "SubjectType",
    "Subscription",
    "Transition",
    "callback_url_for",
    "new_token",
]
