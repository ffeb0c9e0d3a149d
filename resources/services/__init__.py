"""Services: their addresses, and the endpoints behind them, as slices and in the form before those.

- `addresses`: gives Services their cluster IPs
- `ranges`, `range_controller`: the ranges and the addresses as objects (ServiceCIDR, IPAddress)
- `slices`, `slice_controller`: EndpointSlices, one for up to a hundred Pods
- `endpoints`, `endpoints_controller`: the one Endpoints object of a Service, for clients that know nothing newer
- `mirroring`: EndpointSlices for Endpoints that somebody wrote by hand
- `api_service`: the Service by which the API itself is found
"""

from .addresses import Addresses, service_addresses
from .api_service import ApiPlace, api_service, first_address
from .endpoints_controller import endpoints_controller
from .mirroring import endpoint_slice_mirroring
from .slice_controller import endpoint_slices

__all__ = [
    "Addresses", "ApiPlace", "api_service", "endpoint_slice_mirroring", "endpoint_slices", "endpoints_controller",
    "first_address", "service_addresses",
]  # fmt: skip
