"""kubectl's ways to change objects: apply, diff, patch, edit, replace, set, label, annotate, delete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.conformance.kubectl import OTHERS, POD, WEB


def tree_of(kubectl: Any, *what: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(kubectl("get", *what, "-o", "json"))
    return found


def managers(tree: dict[str, Any]) -> set[tuple[str, str]]:
    return {(entry["manager"], entry["operation"]) for entry in tree["metadata"].get("managedFields", ())}


def test_applying_the_same_again_changes_nothing(kubectl: Any) -> None:
    """Neither a new revision nor a difference: else every run of a pipeline would roll out."""
    assert kubectl("apply", "-f", "-", stdin=WEB) == "deployment.apps/web created\n"
    kubectl("rollout", "status", "deploy/web", "--timeout=10s")
    revision = tree_of(kubectl, "deploy", "web")["metadata"]["resourceVersion"]
    assert kubectl("apply", "-f", "-", stdin=WEB) == "deployment.apps/web unchanged\n"
    assert kubectl("diff", "-f", "-", stdin=WEB) == ""
    assert "+  replicas: 2" in kubectl("diff", "-f", "-", stdin=WEB.replace("replicas: 1", "replicas: 2"), code=1)
    assert tree_of(kubectl, "deploy", "web")["metadata"]["resourceVersion"] == revision


def test_going_over_to_server_side_apply_moves_the_ownership_without_a_warning(kubectl: Any) -> None:
    """kubectl turns the client-side manager into its own and applies again, without fields that the server set in the Pod."""
    kubectl("apply", "-f", "-", stdin=POD)
    assert ("kubectl-client-side-apply", "Update") in managers(tree_of(kubectl, "pod", "p", "--show-managed-fields"))
    assert kubectl("apply", "--server-side", "-f", "-", stdin=POD) == "pod/p serverside-applied\n"
    assert kubectl("apply", "--server-side", "-f", "-", stdin=POD) == "pod/p serverside-applied\n"
    after = tree_of(kubectl, "pod", "p", "--show-managed-fields")
    assert after["spec"]["serviceAccountName"] == "default"
    assert len(after["spec"]["tolerations"]) == 2
    assert ("kubectl", "Apply") in managers(after)
    assert ("kubectl-client-side-apply", "Update") not in managers(after)


def test_server_side_apply_conflicts_with_whoever_created_the_object(kubectl: Any) -> None:
    """Ownership begins at creation, not at the first apply."""
    kubectl("create", "-f", "-", stdin=WEB)
    changed = WEB.replace("replicas: 1", "replicas: 2")
    assert '"kubectl-create" using apps/v1: .spec.replicas' in kubectl("apply", "--server-side", "-f", "-", stdin=changed, code=1)
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=changed)
    assert tree_of(kubectl, "deploy", "web")["spec"]["replicas"] == 2


def test_server_side_apply_conflicts_with_the_controller_that_made_the_object(kubectl: Any) -> None:
    """A ReplicaSet carries no managedFields until then: its history knows."""
    kubectl("create", "-f", "-", stdin=WEB)
    kubectl("rollout", "status", "deploy/web", "--timeout=10s")
    (found,) = tree_of(kubectl, "rs")["items"]
    metadata = {name: found["metadata"][name] for name in ("name", "namespace")}
    spec = {**found["spec"], "replicas": 5}
    wanted = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "spec": spec}
    refused = kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(wanted), code=1)
    assert 'conflict with "deployment-controller" using apps/v1: .spec.replicas' in refused
    spec["replicas"] = 1
    kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(wanted))
    after = tree_of(kubectl, "rs", metadata["name"], "--show-managed-fields")
    parts = {(entry["manager"], entry.get("subresource", "")) for entry in after["metadata"]["managedFields"]}
    assert parts == {("kubectl", ""), ("deployment-controller", ""), ("replicaset-controller", "status")}


def test_three_patches_an_edit_and_a_replace_all_arrive(kubectl: Any) -> None:
    """Five ways to say one number."""
    kubectl("create", "-f", "-", stdin=WEB)
    container = '{"spec":{"replicas":2,"template":{"spec":{"containers":[{"name":"a","image":"x:2"}]}}}}'
    kubectl("patch", "deploy", "web", "-p", container)
    tree = tree_of(kubectl, "deploy", "web")
    assert tree["spec"]["replicas"] == 2
    assert tree["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "A", "value": "b"}]
    kubectl("patch", "deploy", "web", "--type=merge", "-p", '{"spec":{"replicas":3}}')
    kubectl("patch", "deploy", "web", "--type=json", "-p", '[{"op":"replace","path":"/spec/replicas","value":4}]')
    assert tree_of(kubectl, "deploy", "web")["spec"]["replicas"] == 4

    editor = kubectl.folder / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/replicas: 4/replicas: 5/" "$1"\n')
    editor.chmod(0o755)
    assert kubectl("edit", "deploy/web", EDITOR=str(editor)) == "deployment.apps/web edited\n"
    tree = tree_of(kubectl, "deploy", "web")
    assert tree["spec"]["replicas"] == 5
    tree["spec"]["replicas"] = 6
    stale = json.dumps({**tree, "metadata": {**tree["metadata"], "resourceVersion": "1"}})
    assert "the object has been modified" in kubectl("replace", "-f", "-", stdin=stale, code=1)
    del tree["metadata"]["resourceVersion"]
    assert kubectl("replace", "-f", "-", stdin=json.dumps(tree)) == "deployment.apps/web replaced\n"
    assert tree_of(kubectl, "deploy", "web")["spec"]["replicas"] == 6


def test_labels_and_annotations_are_overwritten_only_on_demand(kubectl: Any) -> None:
    """kubectl decides by what it reads; the write names the resourceVersion it read."""
    kubectl("apply", "-f", "-", stdin=OTHERS)
    for verb in ("label", "annotate"):
        kubectl(verb, "cm", "c", "k=1")
        assert "--overwrite is false" in kubectl(verb, "cm", "c", "k=2", code=1)
        kubectl(verb, "cm", "c", "k=2", "--overwrite")
    meta = tree_of(kubectl, "cm", "c")["metadata"]
    assert (meta["labels"]["k"], meta["annotations"]["k"]) == ("2", "2")
    kubectl("label", "cm", "c", "k-")
    assert "k" not in tree_of(kubectl, "cm", "c")["metadata"]["labels"]


def test_set_changes_image_env_resources_and_account(kubectl: Any) -> None:
    """Each is a strategic merge patch of the template."""
    kubectl("apply", "-f", "-", stdin=WEB)
    kubectl("set", "image", "deploy/web", "a=x:2")
    kubectl("set", "env", "deploy/web", "A=z", "B=y")
    assert kubectl("set", "env", "deploy/web", "--list").splitlines()[1:] == ["A=z", "B=y"]
    kubectl("set", "resources", "deploy/web", "--requests=cpu=100m")
    kubectl("set", "serviceaccount", "deploy/web", "robot")
    spec = tree_of(kubectl, "deploy", "web")["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == "robot"
    container = spec["containers"][0]
    assert (container["image"], container["resources"]) == ("x:2", {"requests": {"cpu": "100m"}})
    assert container["env"] == [{"name": "A", "value": "z"}, {"name": "B", "value": "y"}]


def test_a_kustomization_is_applied_and_deleted(kubectl: Any) -> None:
    """Nothing but apply on our side, with generated names."""
    folder = Path(kubectl.folder) / "base"
    folder.mkdir()
    (folder / "kustomization.yaml").write_text(
        "resources: [c.yaml]\nnamePrefix: k-\nconfigMapGenerator:\n- {name: made, literals: [a=b]}\n"
    )
    (folder / "c.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: b}\n")
    assert kubectl("apply", "-k", "base").count(" created") == 2
    assert kubectl("apply", "-k", "base").count(" unchanged") == 2
    assert kubectl("delete", "-k", "base").count(" deleted") == 2


def test_delete_takes_selectors_and_all_three_cascades(kubectl: Any) -> None:
    """Orphans stay and are adopted; foreground waits for the Pods."""
    kubectl("apply", "-f", "-", stdin=OTHERS)
    assert kubectl("delete", "cm,secret,lease", "-l", "set=others").count(" deleted") == 3
    kubectl("apply", "-f", "-", stdin=WEB)
    kubectl("rollout", "status", "deploy/web", "--timeout=10s")
    kubectl("delete", "deploy", "web", "--cascade=orphan")
    owned = tree_of(kubectl, "rs")["items"]
    assert [item["metadata"].get("ownerReferences") for item in owned] == [None]
    kubectl("delete", "rs", "-l", "app=web", "--cascade=foreground", "--timeout=10s")
    assert tree_of(kubectl, "pods")["items"] == []
    kubectl("apply", "-f", "-", stdin=WEB)
    kubectl("rollout", "status", "deploy/web", "--timeout=10s")
    kubectl("delete", "deploy", "web", "--cascade=background")
    kubectl("wait", "--for=delete", "pod", "-l", "app=web", "--timeout=10s")


def test_create_replaces_nothing_and_dry_runs_leave_nothing(kubectl: Any) -> None:
    """`create` is the one that refuses; `--dry-run=server` is the one that asks without writing."""
    assert kubectl("create", "-f", "-", stdin=OTHERS).count(" created") == 3
    assert kubectl("create", "-f", "-", stdin=OTHERS, code=1).count("already exists") == 3
    assert "serviceAccountName: default" in kubectl("create", "--dry-run=server", "-o", "yaml", "-f", "-", stdin=POD)
    assert "NotFound" in kubectl("get", "pod", "p", code=1)


def test_generators_create_what_they_say(kubectl: Any) -> None:
    """From 1.32 on they send protobuf, and have no fallback."""
    assert kubectl("create", "deployment", "d", "--image=x", "--replicas=2") == "deployment.apps/d created\n"
    assert kubectl("create", "configmap", "c", "--from-literal=a=b") == "configmap/c created\n"
    assert kubectl("create", "secret", "generic", "s", "--from-literal=a=b") == "secret/s created\n"
    kubectl("rollout", "status", "deploy/d", "--timeout=10s")
    assert tree_of(kubectl, "deploy", "d")["spec"]["template"]["spec"]["containers"][0]["image"] == "x"
    assert tree_of(kubectl, "cm", "c")["data"] == {"a": "b"}
