"""Admission webhooks: servers elsewhere that see writes before they are stored, and may change or refuse them.

    configuration   what a webhook asks to see, and how it is asked
    review          an AdmissionReview as it goes over the wire, and what its answer means
    webhooks        who is asked about a write, in which order, and what happens when nobody answers

How a webhook is reached (the network, a Service's address) is handed in: see `Call`.

Source: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
"""

from .configuration import Webhook, webhooks_of
from .webhooks import Call, Webhooks

__all__ = ["Call", "Webhook", "Webhooks", "webhooks_of"]
