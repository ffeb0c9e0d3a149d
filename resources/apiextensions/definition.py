"""CustomResourceDefinition: a kind that a client declares by data.

The server fills in the names that can be derived, notes every version that objects were ever stored in, and holds a deleted
definition (by a finalizer) until its objects are gone. Objects of all versions are the same but for apiVersion, unless a webhook
converts between them.

Source: k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/{types,v1/defaults}.go, pkg/registry/customresourcedefinition
"""

from __future__ import annotations

from typing import Any

from reconcile.errors import Tree
from reconcile.kinds import Column, Hooks, Resource, kind
from reconcile.views import field, struct

from .rules import broken_rules

FINALIZER = "customresourcecleanup.apiextensions.k8s.io"


@struct
class Names:
    """How the kind and its resource are called."""

    plural: str = field(default="", doc="The resource in URLs: all lowercase; with the group it is the definition's name.")
    singular: str = field(default="", doc="What one is called on the command line; the kind in lowercase unless given.")
    short_names: list[str] = field(factory=list, list_type="atomic", doc="Short names, for the command line.")
    kind: str = field(default="", doc="The kind in manifests: CamelCase and singular.")
    list_kind: str = field(default="", doc="The kind of a list; the kind and `List` unless given.")
    categories: list[str] = field(factory=list, list_type="atomic", doc="Groups of resources that it is one of: `all`.")


@struct
class PrinterColumn:
    """A column that `get` shows."""

    name: str = ""
    type_: str = field(default="", doc="integer, number, string, boolean or date.")
    json_path: str = field(default="", doc="Where the value is found: .spec.replicas")
    format: str = ""
    description: str = ""
    priority: int | None = field(default=None, doc="Above 0: shown in wide output only.")


@struct
class SubresourceScale:
    """Where the scale subresource finds its numbers."""

    spec_replicas_path: str = ""
    status_replicas_path: str = ""
    label_selector_path: str | None = None


@struct
class Subresources:
    """Parts of an object that have a URL of their own."""

    status: dict[str, Any] | None = field(default=None, doc="An empty object serves `status`.")
    scale: SubresourceScale | None = None


@struct
class SelectableField:
    """A field that lists and watches can be narrowed down by."""

    json_path: str = field(default="")


@struct
class Validation:
    """The schema of a version."""

    open_api_v3_schema: dict[str, Any] | None = field(
        default=None, name="openAPIV3Schema", preserve_unknown=True, doc="A structural schema of the whole object."
    )


@struct
class Version:
    """One version of the kind."""

    name: str = ""
    served: bool | None = field(default=None, doc="Whether it is served.")
    storage: bool | None = field(default=None, doc="Whether objects are stored in it; true of exactly one version.")
    deprecated: bool | None = None
    deprecation_warning: str | None = field(default=None, doc="What clients of a deprecated version are told.")
    schema: Validation | None = None
    subresources: Subresources | None = None
    additional_printer_columns: list[PrinterColumn] = field(factory=list, list_type="atomic")
    selectable_fields: list[SelectableField] = field(factory=list, list_type="atomic")


@struct
class ServiceReference:
    """A Service by which a webhook is reached."""

    namespace: str = ""
    name: str = ""
    path: str | None = None
    port: int | None = field(default=None, format="int32", doc="443 unless given.")


@struct
class ClientConfig:
    """How a webhook is reached: by its URL, or as a Service."""

    url: str | None = field(default=None, doc="https://host:port/path")
    service: ServiceReference | None = None
    ca_bundle: str | None = field(default=None, format="byte", doc="The authorities, in PEM, that its certificate is checked by.")


@struct
class WebhookConversion:
    """Who converts."""

    client_config: ClientConfig | None = None
    conversion_review_versions: list[str] = field(
        factory=list, list_type="atomic", doc="The versions of ConversionReview that it understands, the best first: v1."
    )


@struct
class Conversion:
    """How objects get from one version to another."""

    strategy: str = field(default="", doc="None: nothing but apiVersion differs. Webhook: a webhook converts.")
    webhook: WebhookConversion | None = None


@struct
class DefinitionSpec:
    """The kind that is wanted."""

    group: str = ""
    names: Names = field(factory=Names)
    scope: str = field(default="", doc="Namespaced or Cluster.")
    versions: list[Version] = field(factory=list, list_type="atomic")
    conversion: Conversion | None = None
    preserve_unknown_fields: bool | None = None


@struct
class Condition:
    """One thing that is true of a definition, or not."""

    type_: str = ""  # the reference server takes one without, and so do its conformance tests
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = field(default=None, format="date-time")
    observed_generation: int | None = None


@struct
class DefinitionStatus:
    """Whether the kind is served, under which names, and in which versions there may be objects."""

    conditions: list[Condition] = field(factory=list, list_type="map", list_map_keys=("type",))
    accepted_names: Names | None = None
    stored_versions: list[str] = field(factory=list, list_type="atomic")
    observed_generation: int | None = None


def _default(tree: Tree) -> None:
    spec = tree.get("spec")
    if not isinstance(spec, dict):
        return
    names = spec.get("names")
    if isinstance(names, dict) and isinstance(named := names.get("kind"), str) and named:
        if not names.get("singular"):
            names["singular"] = named.lower()
        if not names.get("listKind"):
            names["listKind"] = f"{named}List"
    if spec.get("conversion") is None:
        spec["conversion"] = {"strategy": "None"}
    service = spec["conversion"]
    for name in ("webhook", "clientConfig", "service"):
        service = service.get(name) if isinstance(service, dict) else None
    if isinstance(service, dict):
        service.setdefault("port", 443)
    for version in spec.get("versions") or ():
        if isinstance(version, dict):
            for name in ("served", "storage"):
                version.setdefault(name, False)


def _prepare(tree: Tree, old: Tree | None) -> None:
    """Keep the finalizer, and note the storage version among those that objects may be stored in."""
    spec = tree.get("spec") or {}
    stored = next((v["name"] for v in spec.get("versions") or () if v.get("storage") and v.get("name")), None)
    status = tree.get("status")
    if old is None:
        tree["status"] = {"conditions": [], "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": []}
        status = tree["status"]
    elif "deletionTimestamp" not in old["metadata"] and FINALIZER not in (tree["metadata"].get("finalizers") or ()):
        tree["metadata"]["finalizers"] = [*(tree["metadata"].get("finalizers") or ()), FINALIZER]
    if status is not None and stored is not None and stored not in (status.get("storedVersions") or ()):
        status["storedVersions"] = [*(status.get("storedVersions") or ()), stored]


def _created_at(tree: Tree, _now_s: float) -> Any:
    """A time, not an age as elsewhere: so the reference server has it."""
    return tree["metadata"].get("creationTimestamp")


@kind(
    "apiextensions.k8s.io", "v1", plural="customresourcedefinitions", namespaced=False, short_names=("crd", "crds"),
    categories=("api-extensions",), builtin=True, needs_revision=True,
    columns=(Column("Created At", type="date", cell=_created_at, doc="When it was created."),),
    hooks=Hooks(default=_default, prepare=_prepare, validate=broken_rules, finalizers=(FINALIZER,)),
)  # fmt: skip
class CustomResourceDefinition(Resource):
    """A kind that is declared by data: once established, its objects are served like those of any other."""

    spec: DefinitionSpec = field(factory=DefinitionSpec)
    status: DefinitionStatus = field(factory=DefinitionStatus)
