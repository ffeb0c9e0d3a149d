"""Admission policies: CEL that the API server itself evaluates for each write, where a binding puts it into force.

    policy         what policies and bindings are, compiled
    selection      which of them are for a write, and with which parameters
    validating     asks those that validate
    mutating       has those that mutate change the write
    configuration  merges what they want into an object

Source: https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/,
https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/
"""

from .mutating import MutatingPolicies
from .selection import Surroundings
from .validating import ValidatingPolicies

__all__ = ["MutatingPolicies", "Surroundings", "ValidatingPolicies"]
