"""Admission policies: rules in CEL that the API server itself evaluates for each write, where a binding puts them into force.

    policy     what one policy and one binding are, compiled
    policies   asks all of them about a write

Source: https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/
"""

from .policies import Parameters, Policies

__all__ = ["Parameters", "Policies"]
