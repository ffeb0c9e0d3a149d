"""The official Python client's asynchronous twin (`kubernetes_asyncio`), in short: what differs is transport and watching."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import yaml
from kubernetes_asyncio import client, config, dynamic, watch
from kubernetes_asyncio.client.exceptions import ApiException

from tests.conformance.kubectl import WEB


@asynccontextmanager
async def connected(kubeconfig: str) -> AsyncIterator[Any]:
    async with await config.new_client_from_config(config_file=kubeconfig) as made:
        yield made


async def test_objects_are_created_patched_listed_and_refused(kubeconfig: str, namespace: str) -> None:
    """The same generated code over aiohttp."""
    async with connected(kubeconfig) as connection:
        core = client.CoreV1Api(connection)
        for name in "abc":
            body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels={"app": name}), data={"k": "1"})
            made = await core.create_namespaced_config_map(namespace, body)
            assert made.metadata.uid
        patched = await core.patch_namespaced_config_map("a", namespace, {"data": {"k": "2"}})
        assert patched.data == {"k": "2"}
        operations = [{"op": "test", "path": "/data/k", "value": "wrong"}]
        with pytest.raises(ApiException) as caught:
            await core.patch_namespaced_config_map("a", namespace, operations)
        assert caught.value.status == 422
        page = await core.list_namespaced_config_map(namespace, limit=2)
        rest = await core.list_namespaced_config_map(namespace, limit=2, _continue=page.metadata._continue)
        assert [item.metadata.name for item in (*page.items, *rest.items)] == [*"abc", "kube-root-ca.crt"]
        picked = await core.list_namespaced_config_map(namespace, label_selector="app,app notin (a)")
        assert len(picked.items) == 2
        for call, status in (
            (core.read_namespaced_config_map("none", namespace), 404), (core.create_namespaced_config_map(namespace, body), 409),
        ):  # fmt: skip
            with pytest.raises(ApiException) as caught:
                await call
            assert caught.value.status == status


async def test_a_deployment_is_watched_until_it_runs(kubeconfig: str, namespace: str) -> None:
    """The watch decodes every event into the typed model."""
    async with connected(kubeconfig) as connection:
        apps, core = client.AppsV1Api(connection), client.CoreV1Api(connection)
        await apps.create_namespaced_deployment(namespace, yaml.safe_load(WEB))
        async with watch.Watch().stream(apps.list_namespaced_deployment, namespace, timeout_seconds=10) as events:
            async for event in events:
                conditions = {c.type: c.status for c in event["object"].status.conditions or ()}
                if conditions.get("Available") == "True":
                    break
        pods = await core.list_namespaced_pod(namespace, label_selector="app=web")
        assert [pod.status.phase for pod in pods.items] == ["Running"]
        scaled = await apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 0}})
        assert not scaled.spec.replicas  # zero is left out, as on the reference server
        await apps.delete_namespaced_deployment("web", namespace, propagation_policy="Background")


async def test_the_dynamic_client_applies_on_the_server(kubeconfig: str, namespace: str) -> None:
    """Discovery, then an apply of a kind that has no generated code."""
    async with connected(kubeconfig) as connection:
        found = await dynamic.DynamicClient(connection)
        gadgets = await found.resources.get(api_version="toys.example.com/v1", kind="Gadget")
        body = {"apiVersion": "toys.example.com/v1", "kind": "Gadget", "metadata": {"name": "g"}, "spec": {"size": 3}}
        applied = await gadgets.server_side_apply(body=body, name="g", namespace=namespace, field_manager="dyn")
        assert applied.spec.size == 3
        assert [entry.operation for entry in applied.metadata.managedFields] == ["Apply"]
