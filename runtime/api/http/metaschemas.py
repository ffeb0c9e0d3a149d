"""Schemas that every OpenAPI document needs and no kind declares: metadata, delete options, Scale.

Names and merge keys are Kubernetes' own: kubectl's strategic merge walks them.

Source: https://github.com/kubernetes/kubernetes/blob/v1.36.2/api/openapi-spec/v3/api__v1_openapi.json
"""

from __future__ import annotations

from reconcile.errors import Tree

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
OBJECT_META = f"{_META}ObjectMeta"
LIST_META = f"{_META}ListMeta"
OWNER_REFERENCE = f"{_META}OwnerReference"
DELETE_OPTIONS = f"{_META}DeleteOptions"
SCALE = "io.k8s.api.autoscaling.v1.Scale"


def _text(description: str, **more: object) -> Tree:
    return {"type": "string", "description": description, **more}


def _map(description: str) -> Tree:
    return {"type": "object", "description": description, "additionalProperties": {"type": "string", "default": ""}}


_REF = "#/components/schemas/"

META_SCHEMAS: Tree = {
    OBJECT_META: {
        "type": "object",
        "description": "ObjectMeta is metadata that all persisted resources must have.",
        "properties": {
            "annotations": _map("Annotations is an unstructured key value map for tools and libraries."),
            "creationTimestamp": _text("CreationTimestamp is a timestamp of its creation, by the server.", format="date-time"),
            "deletionGracePeriodSeconds": {
                "type": "integer", "format": "int64",
                "description": "Seconds that this object may still take to go away. Only set with deletionTimestamp.",
            },
            "deletionTimestamp": _text("When this object will be gone, once somebody asked for that.", format="date-time"),
            "finalizers": {
                "type": "array", "items": {"type": "string", "default": ""},
                "description": "Must be empty before the object is deleted from the registry.",
                "x-kubernetes-list-type": "set", "x-kubernetes-patch-strategy": "merge",
            },
            "generateName": _text("A prefix that the server makes a unique name of, where name is absent."),
            "generation": {
                "type": "integer", "format": "int64",
                "description": "Counts the changes of the desired state. Populated by the system. Read-only.",
            },
            "labels": _map("Map of string keys and values to organize and categorize objects."),
            "managedFields": {
                "type": "array", "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "description": "Which manager set which fields, and when.", "x-kubernetes-list-type": "atomic",
            },
            "name": _text("Name must be unique within a namespace. Cannot be updated."),
            "namespace": _text("Namespace defines the space within which each name must be unique. Cannot be updated."),
            "ownerReferences": {
                "type": "array", "items": {"allOf": [{"$ref": _REF + OWNER_REFERENCE}], "default": {}},
                "description": "Objects that this one belongs to: it is garbage-collected when all of them are gone.",
                "x-kubernetes-list-map-keys": ["uid"], "x-kubernetes-list-type": "map",
                "x-kubernetes-patch-merge-key": "uid", "x-kubernetes-patch-strategy": "merge",
            },
            "resourceVersion": _text("The version of this object in the store; opaque to clients. Read-only."),
            "selfLink": _text("Deprecated; not populated."),
            "uid": _text("Unique in time and space. Populated by the system. Read-only."),
        },
    },
    LIST_META: {
        "type": "object",
        "description": "ListMeta describes metadata that lists have.",
        "properties": {
            "continue": _text("Set where the list is incomplete: hand it back to get the rest."),
            "remainingItemCount": {"type": "integer", "format": "int64", "description": "How many items are left out."},
            "resourceVersion": _text("The version of the store at which the list was read."),
        },
    },
    OWNER_REFERENCE: {
        "type": "object",
        "description": "OwnerReference identifies an owning object.",
        "required": ["apiVersion", "kind", "name", "uid"],
        "properties": {
            "apiVersion": _text("API version of the owner."),
            "blockOwnerDeletion": {"type": "boolean", "description": "A foreground deletion of the owner waits for this."},
            "controller": {"type": "boolean", "description": "Whether the owner is the managing controller."},
            "kind": _text("Kind of the owner."), "name": _text("Name of the owner."), "uid": _text("UID of the owner."),
        },
        "x-kubernetes-map-type": "atomic",
    },
    DELETE_OPTIONS: {
        "type": "object",
        "description": "DeleteOptions may be provided when deleting an API object.",
        "properties": {
            "apiVersion": {"type": "string"}, "kind": {"type": "string"},
            "dryRun": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "atomic"},
            "gracePeriodSeconds": {"type": "integer", "format": "int64"}, "orphanDependents": {"type": "boolean"},
            "preconditions": {
                "type": "object", "properties": {"resourceVersion": {"type": "string"}, "uid": {"type": "string"}}
            },
            "propagationPolicy": {"type": "string"},
            "ignoreStoreReadErrorWithClusterBreakingPotential": {"type": "boolean"},
        },
    },
}  # fmt: skip

SCALE_SCHEMA: Tree = {
    "type": "object",
    "description": "Scale represents a scaling request for a resource.",
    "properties": {
        "apiVersion": {"type": "string"}, "kind": {"type": "string"},
        "metadata": {"allOf": [{"$ref": _REF + OBJECT_META}], "default": {}},
        "spec": {"type": "object", "properties": {"replicas": {"type": "integer", "format": "int32"}}},
        "status": {
            "type": "object",
            "properties": {"replicas": {"type": "integer", "format": "int32"}, "selector": {"type": "string"}},
        },
    },
    "x-kubernetes-group-version-kind": [{"group": "autoscaling", "kind": "Scale", "version": "v1"}],
}  # fmt: skip
