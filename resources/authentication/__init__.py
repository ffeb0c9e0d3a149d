"""Who is who: the kinds of authentication.k8s.io, and what answers them.

reviews     the kinds: TokenReview, SelfSubjectReview
answers     asks whoever knows tokens
token_request, accounts, signing    tokens of service accounts
"""

from .answers import IdentityReviews
from .reviews import SelfSubjectReview, TokenReview
from .token_request import TokenRequest

__all__ = ["IdentityReviews", "SelfSubjectReview", "TokenRequest", "TokenReview"]
