"""Objects of a kind that has several versions: stored in one, shown in each.

    versions    what the served versions of one resource share: where its objects are stored, and who converts them
    review      a webhook that converts: a ConversionReview as it goes over the wire, and what its answer may be

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/
"""

from .versions import Asking, Versions

__all__ = ["Asking", "Versions"]
