"""Certificates on request: the kind, its approval, and the signer of client certificates.

- `request`: the kind CertificateSigningRequest
- `authority`: makes certificates
- `operator`: admits, signs, and clears away
"""

from .request import CertificateSigningRequest

__all__ = ["CertificateSigningRequest"]
