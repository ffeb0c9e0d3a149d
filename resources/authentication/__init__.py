"""Who is who: the kinds of authentication.k8s.io, and what answers them.

reviews     the kinds: TokenReview, SelfSubjectReview
answers     asks whoever knows tokens
"""

from .answers import IdentityReviews
from .reviews import SelfSubjectReview, TokenReview

__all__ = ["IdentityReviews", "SelfSubjectReview", "TokenReview"]
