"""Services: their addresses, and the slices of endpoints behind them."""

from .addresses import service_addresses
from .endpoints import endpoint_slices

__all__ = ["endpoint_slices", "service_addresses"]
