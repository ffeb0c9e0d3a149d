"""What the metadata of an object can have, in the server's own and in embedded ones.

Source: k8s.io/apimachinery/pkg/apis/meta/v1 ObjectMeta
"""

from __future__ import annotations

SHAPES: dict[str, type] = {
    "name": str, "generateName": str, "namespace": str, "selfLink": str, "uid": str, "resourceVersion": str,
    "generation": int, "creationTimestamp": str, "deletionTimestamp": str, "deletionGracePeriodSeconds": int,
    "labels": dict, "annotations": dict, "ownerReferences": list, "finalizers": list, "managedFields": list,
}  # fmt: skip
"""The JSON types of its fields."""
