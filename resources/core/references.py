"""Small shapes that several kinds share: selectors, references to other objects, conditions."""

from __future__ import annotations

from reconcile.views import field, struct


@struct
class LabelSelectorRequirement:
    """One rule of a selector: a label key, an operator (In, NotIn, Exists, DoesNotExist) and its values."""

    key: str
    operator: str
    values: list[str] = field(factory=list, list_type="atomic")


@struct
class LabelSelector:
    """Picks objects by their labels; all its rules must hold, and one without rules picks everything."""

    match_labels: dict[str, str] = field(factory=dict, doc="Labels that must have exactly these values.")
    match_expressions: list[LabelSelectorRequirement] = field(factory=list, list_type="atomic", doc="Further rules.")


@struct
class LocalObjectReference:
    """Names an object of the same namespace."""

    name: str = ""


@struct
class ObjectReference:
    """Names any object, or a part of one."""

    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    resource_version: str = ""
    field_path: str = field(default="", doc="The part that is meant, e.g. spec.containers{web}.")


@struct
class Condition:
    """One aspect of an object's state: a type, True, False or Unknown, and why."""

    type: str
    status: str
    observed_generation: int = field(default=0, doc="The generation that this was found for.")
    last_transition_time: str = field(default="", format="date-time", doc="When the status last changed.")
    reason: str = field(default="", doc="One CamelCase word for programs.")
    message: str = field(default="", doc="A sentence for people.")
