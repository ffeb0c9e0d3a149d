"""What an object uses of a quota, and which quotas it counts towards: devices, and classes of claims on volumes."""

from __future__ import annotations

from typing import Any

import pytest

from reconcile.errors import Tree
from reconcile.kinds import Kind, kind_of
from reconcile.resources.core import Pod
from reconcile.resources.quota.resource_quota import ResourceQuota
from reconcile.resources.quota.usage import counts, kind_behind, usage_of

CLAIM = Kind(group="", version="v1", kind="PersistentVolumeClaim", plural="persistentvolumeclaims")
DEVICE_CLAIM = Kind(group="resource.k8s.io", version="v1", kind="ResourceClaim", plural="resourceclaims")
GOLD, BRONZE = "gold.deviceclass.resource.k8s.io/devices", "bronze.deviceclass.resource.k8s.io/devices"


def test_a_claim_on_devices_uses_the_most_that_it_may_come_to() -> None:
    """A quota that hopes for the best is exceeded by the rest."""
    first = [
        {"name": "a", "deviceClassName": "gold", "allocationMode": "ExactCount", "count": 4},
        {"name": "b", "deviceClassName": "gold", "count": 2}, {"name": "c", "deviceClassName": "bronze", "count": 8},
    ]  # fmt: skip
    requests = [
        {"name": "x", "exactly": {"deviceClassName": "gold"}}, {"name": "y", "firstAvailable": first},
        {"name": "z", "exactly": {"deviceClassName": "bronze", "allocationMode": "All"}},
        {"name": "old", "deviceClassName": "gold", "allocationMode": "ExactCount", "count": 3},
    ]  # fmt: skip
    used = usage_of(DEVICE_CLAIM, {"metadata": {"name": "c"}, "spec": {"devices": {"requests": requests}}})
    assert used == {"count/resourceclaims.resource.k8s.io": 1, GOLD: 1 + 4 + 3, BRONZE: 8 + 32}
    assert kind_behind(GOLD) == ("resource.k8s.io", "resourceclaims")


@pytest.mark.parametrize(
    ("operator", "values", "which"),
    [
        ("In", ["gold"], {"asks", "had", "moves"}), ("NotIn", ["gold"], {"none", "moves"}),
        ("Exists", [], {"asks", "had", "moves"}),
        ("DoesNotExist", [], {"none"}),
    ],
)  # fmt: skip
def test_a_quota_for_a_class_of_volumes_counts_its_claims(operator: str, values: list[str], which: set[str]) -> None:
    """One that asks for the class, has it, or is on its way from or to it."""
    claims: dict[str, Tree] = {
        "none": {"spec": {}}, "asks": {"spec": {"volumeAttributesClassName": "gold"}},
        "had": {"spec": {}, "status": {"currentVolumeAttributesClassName": "gold"}},
        "moves": {
            "spec": {"volumeAttributesClassName": "gold"},
            "status": {"modifyVolumeStatus": {"targetVolumeAttributesClassName": "silver"}},
        },
    }  # fmt: skip
    rule = {"scopeName": "VolumeAttributesClass", "operator": operator, "values": values}
    quota = {"spec": {"scopeSelector": {"matchExpressions": [rule]}}}
    assert {name for name, claim in claims.items() if counts(quota, CLAIM, claim)} == which
    assert not counts(quota, kind_of(Pod), {"spec": {}})


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ({"scopeName": "VolumeAttributesClass", "operator": "In", "values": ["a"]}, ""),
        ({"scopeName": "PriorityClass", "operator": "In"}, "must be at least one value when `operator` is 'In' or 'NotIn'"),
        ({"scopeName": "PriorityClass", "operator": "Exists", "values": ["a"]}, "must be no value when `operator` is"),
        ({"scopeName": "BestEffort", "operator": "DoesNotExist"}, "must be 'Exists' when scope is any of"),
        ({"scopeName": "PriorityClass", "operator": "Like"}, "not a valid selector operator"),
        ({"scopeName": "Nosuch", "operator": "Exists"}, "unsupported scope"),
    ],
)
def test_a_scope_of_a_quota_is_judged(rule: Tree, why: str) -> None:
    """One that selects nothing, or says nothing, is a mistake."""
    validate: Any = kind_of(ResourceQuota).hooks.validate
    found = list(validate({"metadata": {}, "spec": {"scopeSelector": {"matchExpressions": [rule]}}}, None))
    assert [why in cause.message for cause in found] == ([True] if why else [])
