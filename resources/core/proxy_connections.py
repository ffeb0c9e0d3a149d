"""Where `proxy` leads: to a Pod, to a Pod behind a Service, or to a Node's kubelet.

The name in the URL may say more than a name: `web`, `web:8080`, `https:web:8443`.

Source: pkg/registry/core/{pod,service,node}/rest, k8s.io/apimachinery/pkg/util/net SplitSchemeNamePort
"""

from __future__ import annotations

from typing import NamedTuple

from reconcile.errors import BadRequestError, Tree, UnavailableError
from reconcile.kinds import kind_of
from reconcile.subresources import ALL_VERBS, Asked, Backend, Connection, Objects

SERVICE_LABEL = "kubernetes.io/service-name"


def node_address(name: str) -> str:
    """The address of a node's kubelet, for the one who composes the cluster and knows how it is reached."""
    return f"node://{name}"


class Named(NamedTuple):
    """What the name in the URL says; an empty port stands for the first."""

    scheme: str
    name: str
    port: str


def named(text: str) -> Named:
    """Take a name apart.

    Raises:
        BadRequestError: it has more colons than that, or another scheme.
    """
    parts = text.split(":")
    if len(parts) == 1:
        return Named("http", text, "")
    if len(parts) == 2 and parts[0]:
        return Named("http", *parts)
    if len(parts) == 3 and parts[0] in ("http", "https", "") and parts[1]:
        return Named(parts[0] or "http", parts[1], parts[2])
    raise BadRequestError(f'invalid request "{text}": give NAME, NAME:PORT or SCHEME:NAME:PORT')


async def locate_pod(objects: Objects, asked: Asked) -> Backend:
    """The Pod's own address; its first declared port unless another is given."""
    from .pod import Pod  # which this is a part of

    scheme, name, port = named(asked.name)
    pod = await objects.get(kind_of(Pod), name, asked.namespace)
    declared = [str(each["containerPort"]) for c in pod["spec"].get("containers") or () for each in c.get("ports") or ()]
    host = (pod.get("status") or {}).get("podIP")
    if not host:
        raise BadRequestError(f"pod {name} has no address yet")
    wanted = port or (declared[0] if declared else "443" if scheme == "https" else "80")
    if not wanted.isdecimal():
        raise BadRequestError(f'invalid request "{asked.name}": the port of a pod is a number')
    return _proxied(f"{scheme}://{host}:{wanted}", asked)


async def locate_service(objects: Objects, asked: Asked) -> Backend:
    """A ready Pod behind the Service; a port of the Service is meant by its name or number."""
    from .service import Service  # which this is a part of

    scheme, name, port = named(asked.name)
    service = await objects.get(kind_of(Service), name, asked.namespace)
    port_name = _port_name(service, port)
    host = await _endpoint(objects, service, port_name)
    if not host:
        raise UnavailableError(f'no endpoints available for service "{asked.name}"')
    return _proxied(f"{scheme}://{host}", asked)


async def locate_node(objects: Objects, asked: Asked) -> Backend:
    """The node's kubelet; with a port, whatever listens there."""
    from .node import Node  # which this is a part of

    scheme, name, port = named(asked.name)
    node = await objects.get(kind_of(Node), name)
    if not port:
        return _proxied(node_address(name), asked)
    for address in (node.get("status") or {}).get("addresses") or ():
        if address.get("type") == "InternalIP" and port.isdecimal():
            return _proxied(f"{scheme}://{address['address']}:{port}", asked)
    raise BadRequestError(f'invalid request "{asked.name}": the node has no such address and port')


def _proxied(address: str, asked: Asked) -> Backend:
    query = f"?{asked.raw_query}" if asked.raw_query else ""
    return Backend(address, (asked.rest or "/") + query, rewritten=True)


def _port_name(service: Tree, port: str) -> str:
    """The name of the Service's port; an empty one is a name, too."""
    ports = service["spec"].get("ports") or []
    if not port and len(ports) >= 1:
        return str(ports[0].get("name") or "")
    for each in ports:
        if port in (each.get("name"), str(each["port"])):
            return str(each.get("name") or "")
    raise UnavailableError(f'no service port "{port}" found for service "{service["metadata"]["name"]}"')


async def _endpoint(objects: Objects, service: Tree, port_name: str) -> str:
    from reconcile.resources.discovery import EndpointSlice  # only where a Service is proxied

    meta = service["metadata"]
    page = await objects.list(kind_of(EndpointSlice), meta["namespace"], labels=f"{SERVICE_LABEL}={meta['name']}")
    for each in page.items:
        port = next((p.get("port") for p in each.get("ports") or () if (p.get("name") or "") == port_name), None)
        for endpoint in each.get("endpoints") or ():
            if port and (endpoint.get("conditions") or {}).get("ready") is not False and endpoint.get("addresses"):
                return f"{endpoint['addresses'][0]}:{port}"
    return ""


def _options(asked: Asked) -> Tree:
    return {"path": asked.rest} if asked.rest else {}


POD_PROXY = Connection("proxy", "PodProxyOptions", locate_pod, ALL_VERBS, rest=True, options=_options)
SERVICE_PROXY = Connection("proxy", "ServiceProxyOptions", locate_service, ALL_VERBS, rest=True, options=_options)
NODE_PROXY = Connection("proxy", "NodeProxyOptions", locate_node, ALL_VERBS, rest=True, options=_options)
