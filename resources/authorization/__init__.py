"""Questions about what is allowed: the kinds of authorization.k8s.io, and what answers them.

reviews     the kinds: SubjectAccessReview and its relatives, SelfSubjectRulesReview
answers     asks an authorizer, and a policy
"""

from .answers import AccessReviews
from .reviews import LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview

__all__ = [
    "AccessReviews", "LocalSubjectAccessReview", "SelfSubjectAccessReview", "SelfSubjectRulesReview", "SubjectAccessReview",
]  # fmt: skip
