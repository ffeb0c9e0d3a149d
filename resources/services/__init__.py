"""Services: their addresses, the slices of endpoints behind them, and the Service by which the API itself is found."""

from .addresses import service_addresses
from .api_service import ApiPlace, api_service, first_address
from .endpoints import endpoint_slices

__all__ = ["ApiPlace", "api_service", "endpoint_slices", "first_address", "service_addresses"]
