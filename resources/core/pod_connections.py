"""Where a Pod's subresources are answered: by the kubelet of its node, or (proxy) by the Pod itself.

Source: pkg/registry/core/pod/strategy.go, pkg/registry/core/pod/rest/subresources.go
"""

from __future__ import annotations

from urllib.parse import quote, urlencode

from reconcile.errors import BadRequestError, Tree
from reconcile.kinds import kind_of
from reconcile.subresources import Asked, Backend, Connection, Objects

from .proxy_connections import POD_PROXY, node_address

_ROLES = ("containers", "initContainers", "ephemeralContainers")
_FLAGS = (("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty"))


async def locate_exec(objects: Objects, asked: Asked) -> Backend:
    """`/exec/NAMESPACE/POD/CONTAINER` at the node's kubelet."""
    return await _stream(objects, asked, "exec", [("command", word) for word in asked.values("command")])


async def locate_attach(objects: Objects, asked: Asked) -> Backend:
    """`/attach/NAMESPACE/POD/CONTAINER` at the node's kubelet."""
    return await _stream(objects, asked, "attach", [])


async def locate_port_forward(objects: Objects, asked: Asked) -> Backend:
    """`/portForward/NAMESPACE/POD` at the node's kubelet."""
    pod = await _pod(objects, asked)
    ports = ",".join(asked.values("ports"))
    return Backend(_node(pod), _path("portForward", pod, (), [("port", port) for port in ports.split(",") if port]))


async def _stream(objects: Objects, asked: Asked, verb: str, query: list[tuple[str, str]]) -> Backend:
    pod = await _pod(objects, asked)
    container = container_meant(pod, asked.value("container"))
    query = [*((theirs, "1") for ours, theirs in _FLAGS if asked.flag(ours)), *query]
    return Backend(_node(pod), _path(verb, pod, (container,), query))


async def _pod(objects: Objects, asked: Asked) -> Tree:
    from .pod import Pod  # which these are a part of

    return await objects.get(kind_of(Pod), asked.name, asked.namespace)


def _node(pod: Tree) -> str:
    name = pod["spec"].get("nodeName")
    if not name:
        raise BadRequestError(f"pod {pod['metadata']['name']} does not have a host assigned")
    return node_address(name)


def _path(verb: str, pod: Tree, more: tuple[str, ...], query: list[tuple[str, str]]) -> str:
    meta = pod["metadata"]
    parts = [verb, meta["namespace"], meta["name"], *more]
    return "/" + "/".join(quote(part, safe="") for part in parts) + (f"?{urlencode(query)}" if query else "")


def container_meant(pod: Tree, asked: str) -> str:
    """The container that is meant: the one that is named, else the only one.

    Raises:
        BadRequestError: it has no such container, or several.
    """
    name, spec = pod["metadata"]["name"], pod["spec"]
    names = {role: [str(c["name"]) for c in spec.get(role) or ()] for role in _ROLES}
    if asked:
        if not any(asked in of_role for of_role in names.values()):
            raise BadRequestError(f"container {asked} is not valid for pod {name}")
        return asked
    if len(names["containers"]) == 1:
        return names["containers"][0]
    choice = f"choose one of: [{' '.join(names['containers'])}]"
    if names["initContainers"]:
        choice += f" or one of the init containers: [{' '.join(names['initContainers'])}]"
    if names["ephemeralContainers"]:
        choice += f" or one of the ephemeral containers: [{' '.join(names['ephemeralContainers'])}]"
    raise BadRequestError(f"a container name must be specified for pod {name}, {choice}")


def _stream_options(asked: Asked) -> Tree:
    """As the reference decodes them: what is false or empty is left out."""
    made: Tree = {ours: True for ours, _ in _FLAGS if asked.flag(ours)}
    if asked.value("container"):
        made["container"] = asked.value("container")
    return made


def _exec_options(asked: Asked) -> Tree:
    words = asked.values("command")
    return {**_stream_options(asked), **({"command": words} if words else {})}


def _port_options(asked: Asked) -> Tree:
    ports = [int(port) for text in asked.values("ports") for port in text.split(",") if port.isdecimal()]
    return {"ports": ports} if ports else {}


POD_CONNECTIONS = (
    Connection("attach", "PodAttachOptions", locate_attach, upgraded=True, options=_stream_options),
    Connection("exec", "PodExecOptions", locate_exec, upgraded=True, options=_exec_options),
    Connection("portforward", "PodPortForwardOptions", locate_port_forward, upgraded=True, options=_port_options),
    POD_PROXY,
)
