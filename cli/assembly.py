"""Composes the control plane that `up` runs: the built-in kinds and controllers, one kubelet (or simulated nodes), the proxy."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import attrs

from reconcile.clock import Clock
from reconcile.errors import ApiError, NotFoundError
from reconcile.kinds import kind_of
from reconcile.registry import Operator
from reconcile.resources import bootstrap_objects, builtin_kinds, controllers
from reconcile.resources.apiextensions import custom_resources
from reconcile.resources.controllers import VOLUMES
from reconcile.resources.core import Binding, Namespace, Pod, Service
from reconcile.resources.core.binding import Bindings
from reconcile.resources.descriptions import descriptions
from reconcile.resources.policy import Eviction
from reconcile.resources.policy.eviction import Evictions
from reconcile.resources.services import Addresses, ApiPlace, api_service, first_address, service_addresses
from reconcile.resources.services.api_service import PORT
from reconcile.resources.stored.components import Components, component_kind
from reconcile.resources.webhooks import EXEMPT, admission_policies, webhook_configurations
from reconcile.resources.wire import wire_tables
from reconcile.runtime.api import ApiServer
from reconcile.runtime.client import InProcessClient
from reconcile.runtime.client.webhook import WebhookCaller
from reconcile.runtime.cluster import ControlPlane, Front, Parts
from reconcile.runtime.sync import Folder

from .choosing import Choice
from .guarding import Guards
from .node import LocalNode

EVERYTHING = Choice()


@attrs.frozen
class Assembly:
    """The parts of a control plane, and this machine's node (None with simulated nodes)."""

    parts: Parts
    node: LocalNode | None

    async def stop(self, plane: ControlPlane, *, keep: bool) -> list[str]:
        """Stop the processes, or let go of them. Returns what to tell the person."""
        if self.node is None:
            return ["stopped; the state is kept"]
        try:
            count = len((await plane.client.list(kind_of(Pod), fields="status.phase=Running")).items)
            pods = f"{count} pod{'' if count == 1 else 's'}"
        except ApiError:
            pods = "the pods"  # a store that failed is no reason to leave processes behind
        await self.node.close(stop_pods=not keep)
        if keep:
            return [f"stopped; {pods} keep running, and `reconcile up` takes them over again"]
        return [f"stopped, {pods} with it; the state is kept, and `reconcile up` starts them again"]


def assemble(
    data_dir: Path, clock: Clock, service_cidr: str, pod_cidr: str, simulated: int, images: Mapping[str, Sequence[str]],
    choice: Choice = EVERYTHING,
) -> Assembly:  # fmt: skip
    """Everything that a control plane of one machine consists of, where `choice` leaves nothing to others."""
    serving: list[ApiServer] = []  # filled by `connect`, before any operator starts
    definitions = custom_resources(
        lambda kind: serving[0].serve_declared(kind), lambda kind: serving[0].withdraw_declared(kind)
    )  # fmt: skip
    guards = Guards(clock, choice.enabled)

    async def locate(namespace: str, name: str) -> str:
        return await _service_address(serving[0], namespace, name)

    caller = WebhookCaller(locate)
    webhooks = webhook_configurations(lambda *found: serving[0].configure_webhooks(*found), caller.close)
    policies = _policies(serving)
    places: list[ApiPlace] = []  # filled by `connect`, too
    node = LocalNode(data_dir, clock, pod_cidr, images) if not simulated else None
    addresses = Addresses(service_cidr)
    # Started before anybody is answered: so that what clients declared is served again, and what they write is judged.
    operators: list[Operator] = [definitions, webhooks, policies, *guards.operators(), service_addresses(addresses)]

    def later() -> list[Operator]:
        chosen = [*guards.controllers(), *controllers(enabled=choice.enabled)]
        if choice.scheduler:
            from reconcile.resources.scheduler import scheduler

            # Claims are waited for where somebody binds them: with processes, or in another program.
            chosen.append(scheduler(volumes=node is not None or not choice.enabled(VOLUMES)))
        chosen += _service_operators(service_cidr, addresses, places, serving)
        if node is not None:
            return [*chosen, *node.operators(volumes=choice.enabled(VOLUMES))]
        from reconcile.resources.kubelet.simulated import simulated_nodes

        return [*chosen, simulated_nodes(simulated)]

    def connect(api: ApiServer, front: Front | None) -> None:
        serving.append(api)
        guards.connect(api, front)
        if front is not None:
            places.append(_api_place(front, first_address(service_cidr), served=not simulated))
        evictions = Evictions(InProcessClient(api), clock, Pod)
        api.serve_answers(kind_of(Binding), Bindings(evictions.client).respond)
        api.add_answers(kind_of(Pod), "eviction", kind_of(Eviction), guards.evictions(evictions.respond))
        api.ask_webhooks(caller, EXEMPT)
        api.serve_virtual(component_kind(), Components(lambda: _trouble(api), _elsewhere(choice, clock)))
        if node is not None:
            node.connect(api, front)
        else:
            from .simulated_meters import serve_simulated

            serve_simulated(api, clock)

    kinds = [*builtin_kinds(), Folder]
    started = [*choice.parts(), "nodes"]
    parts = Parts(kinds, Namespace, bootstrap_objects(), operators, later, connect, wire_tables, descriptions, started)
    return Assembly(parts, node)


def _service_operators(cidr: str, addresses: Addresses, places: list[ApiPlace], serving: list[ApiServer]) -> list[Operator]:
    """What the API server does about Services, and nobody waits for: their ranges, and the one that leads to itself."""
    from reconcile.resources.services.ranges import service_ranges

    ranges = service_ranges(cidr, addresses)
    return [ranges, api_service(cidr, lambda: places[0] if places else None, lambda: serving[0].find("", "v1", "endpoints"))]


def _policies(serving: list[ApiServer]) -> Operator:
    return admission_policies(
        lambda *found: serving[0].configure_mutating_policies(*found, exempt=EXEMPT),
        lambda *found: serving[0].configure_policies(*found, exempt=EXEMPT),
    )


def _elsewhere(choice: Choice, clock: Clock) -> dict[str, Callable[[], Awaitable[str]]]:
    """Asks the parts of which nothing runs here, as the reference's programs answer."""
    if choice.controllers and choice.scheduler:
        return {}
    from .probing import PORTS, trouble_at  # few leave a part to others

    absent = {"controller-manager": not choice.controllers, "scheduler": not choice.scheduler}
    return {name: partial(trouble_at, PORTS[name], clock) for name in PORTS if absent[name]}


def _trouble(api: ApiServer) -> str:
    from reconcile.runtime.observed import trouble  # belongs to HTTP, which is loaded later

    return trouble(api.store)


def _api_place(front: Front, address: str, *, served: bool) -> ApiPlace:
    """Where the API is, and at which port the proxy of this machine can lead there: not everybody may listen on 443."""
    host = front.host
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 - recognised, not used
        host = "127.0.0.1"
    with contextlib.suppress(OSError):
        host = str(socket.getaddrinfo(host, None)[0][4][0])
    if served:
        try:
            socket.create_server((address, PORT)).close()
        except PermissionError:
            return ApiPlace(host, front.port, front.port)
        except OSError:
            pass  # what else is wrong, the proxy tells and tries again
    return ApiPlace(host, front.port)


async def _service_address(api: ApiServer, namespace: str, name: str) -> str:
    """Where a Service is reached. Raises OSError where it is not."""
    try:
        address = (await api.get(kind_of(Service), name, namespace)).tree["spec"].get("clusterIP")
    except NotFoundError as error:
        raise OSError(str(error)) from error
    if not address or address == "None":
        raise OSError(f'service "{namespace}/{name}" has no address of its own')
    return str(address)
