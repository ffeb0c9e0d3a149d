"""Limits of a namespace: how much each Pod may ask for, and how much all objects together.

- `limit_range`, `limiting`: defaults and bounds for each container, Pod and claim
- `resource_quota`, `usage`, `quotas`: totals, counted and kept
- `amounts`: what a Pod asks for, all containers together
"""

from .limit_range import LimitRange
from .resource_quota import ResourceQuota

__all__ = ["LimitRange", "ResourceQuota"]
