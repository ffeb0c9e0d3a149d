"""Which version of an API is better than another: what clients get that name none.

Source: k8s.io/apimachinery/pkg/version/helpers.go CompareKubeAwareVersionStrings
"""

from __future__ import annotations

import re

_KUBE_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?")
_STABILITY = {"": 2, "beta": 1, "alpha": 0}


def version_rank(version: str) -> tuple[int, int, int, str]:
    """Sorts versions as Kubernetes prefers them: v2, v1, v1beta2, v1beta1, v1alpha1; take the greatest."""
    match = _KUBE_VERSION.fullmatch(version)
    if match is None:
        return (-1, 0, 0, version)
    return (_STABILITY[match[2] or ""], int(match[1]), int(match[3] or 0), version)
