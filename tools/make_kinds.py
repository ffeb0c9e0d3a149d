"""Makes `resources/wire.json` and `resources/stored/rules.json` of the Go sources of the Kubernetes API.

    python -m tools.make_kinds API_MACHINERY_FOLDER API_FOLDER AGGREGATOR_FOLDER EXTENSIONS_FOLDER

The folders are unpacked copies of k8s.io/apimachinery, k8s.io/api, k8s.io/kube-aggregator and k8s.io/apiextensions-apiserver,
of one release. What is taken from them are interface facts: names, numbers and types of fields, which lists are keyed by what,
the words of enumerations. Files are written only where they differ.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.go_types import Field, Package, read_package

RESOURCES = Path(__file__).parent.parent / "resources"
META = "k8s.io/apimachinery/pkg/apis/meta/v1"
ROOTS: dict[str, tuple[str, ...]] = {
    "v1": (
        "Namespace", "Pod", "Node", "ConfigMap", "Secret", "Service", "ServiceAccount", "Event", "Binding", "Endpoints",
        "PersistentVolume", "PersistentVolumeClaim", "PodTemplate", "ReplicationController", "LimitRange", "ResourceQuota",
        "ComponentStatus",
    ),
    "apps/v1": ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "ControllerRevision"),
    "batch/v1": ("Job", "CronJob"),
    "autoscaling/v1": ("HorizontalPodAutoscaler", "Scale"),
    "autoscaling/v2": ("HorizontalPodAutoscaler",),
    "networking.k8s.io/v1": ("Ingress", "IngressClass", "NetworkPolicy", "IPAddress", "ServiceCIDR"),
    "storage.k8s.io/v1": (
        "StorageClass", "CSIDriver", "CSINode", "CSIStorageCapacity", "VolumeAttachment", "VolumeAttributesClass",
    ),
    "node.k8s.io/v1": ("RuntimeClass",),
    "flowcontrol.apiserver.k8s.io/v1": ("FlowSchema", "PriorityLevelConfiguration"),
    "discovery.k8s.io/v1": ("EndpointSlice",),
    "events.k8s.io/v1": ("Event",),
    "coordination.k8s.io/v1": ("Lease",),
    "policy/v1": ("Eviction", "PodDisruptionBudget"),
    "admissionregistration.k8s.io/v1": (
        "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding", "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding",
    ),
    "apiregistration.k8s.io/v1": ("APIService",),
    "apiextensions.k8s.io/v1": ("CustomResourceDefinition",),
    "resource.k8s.io/v1": ("DeviceClass", "ResourceClaim", "ResourceClaimTemplate", "ResourceSlice"),
    "rbac.authorization.k8s.io/v1": ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"),
    "authorization.k8s.io/v1": (
        "SubjectAccessReview", "SelfSubjectAccessReview", "LocalSubjectAccessReview", "SelfSubjectRulesReview",
    ),
    "certificates.k8s.io/v1": ("CertificateSigningRequest",),
    "scheduling.k8s.io/v1": ("PriorityClass",),
    "authentication.k8s.io/v1": ("TokenReview", "SelfSubjectReview", "TokenRequest"),
    "meta.k8s.io/v1": (
        "DeleteOptions", "Status", "PartialObjectMetadata", "PartialObjectMetadataList",
        "APIGroup", "APIGroupList", "APIResourceList", "APIVersions",
    ),
}  # fmt: skip
_SCALARS = {"string": "string", "bool": "bool", "int32": "int32", "int64": "int64", "int": "int64", "float64": "double",
            "uint8": "int32", "rune": "int32"}  # fmt: skip
_VALUES = {
    f"{META}.Time": "Time", f"{META}.MicroTime": "MicroTime", f"{META}.FieldsV1": "FieldsV1", f"{META}.Duration": "Duration",
    "k8s.io/apimachinery/pkg/util/intstr.IntOrString": "IntOrString", "k8s.io/apimachinery/pkg/types.UID": "string",
    "k8s.io/apimachinery/pkg/api/resource.Quantity": "Quantity", "k8s.io/apimachinery/pkg/types.NodeName": "string",
    "k8s.io/apimachinery/pkg/runtime.RawExtension": "RawExtension", "apiextensions.JSON": "RawExtension",
    f"{META}.Verbs": "Texts",
    **{f"k8s.io/api/{group}/v1.ExtraValue": "Texts" for group in ("authentication", "authorization", "certificates")},
}  # fmt: skip
# Written by controllers; the reference fills what they leave out, and so refuses nothing.
_STATUS = re.compile(r"Status$|Condition$")


class Sources:
    """The Go packages, and what the API calls their groups."""

    def __init__(self, machinery: Path, api: Path, aggregator: Path, extensions: Path) -> None:
        self.packages: dict[str, Package] = {}
        self.prefixes: dict[str, str] = {}
        self._add(META, machinery / "pkg/apis/meta/v1", "meta.k8s.io/v1")
        self._add("k8s.io/api/core/v1", api / "core/v1", "v1")
        for root in ROOTS:
            group, _, version = root.rpartition("/")
            short = group.partition(".")[0]
            folder = {"admissionregistration": "admissionregistration", "flowcontrol": "flowcontrol"}.get(short, short)
            if group and (api / folder / version).is_dir():
                self._add(f"k8s.io/api/{folder}/{version}", api / folder / version, root)
        self._add("apiregistration", aggregator / "pkg/apis/apiregistration/v1", "apiregistration.k8s.io/v1")
        self._add("apiextensions", extensions / "pkg/apis/apiextensions/v1", "apiextensions.k8s.io/v1")

    def _add(self, path: str, folder: Path, prefix: str) -> None:
        self.packages[path] = read_package(path, sorted(folder.glob("types*.go")))
        self.prefixes[path] = prefix

    def package(self, prefix: str) -> Package:
        """The package of a group and version."""
        return self.packages[next(path for path, known in self.prefixes.items() if known == prefix)]

    def resolve(self, go_type: str, package: Package) -> tuple[str, str]:
        """(package path, name) of a named type."""
        alias, _, name = go_type.rpartition(".")
        return (package.imports[alias] if alias else package.path), name


def wire_type(sources: Sources, package: Package, go_type: str, field: Field | None) -> str:
    """A Go type in the notation of the wire tables."""
    bare = go_type.removeprefix("*")
    empty = "?" if field is not None and field.omitempty and bare == go_type else ""
    if bare in ("[]byte", "[]uint8"):
        return "bytes" + empty
    if bare.startswith("[]"):
        return "[]" + wire_type(sources, package, bare[2:], None)
    if found := re.match(r"map\[[\w.]+\](.+)", bare):
        return "{}" + wire_type(sources, package, found[1], None)
    if bare in _SCALARS:
        return _SCALARS[bare] + empty
    path, name = sources.resolve(bare, package)
    if f"{path}.{name}" in _VALUES:
        value = _VALUES[f"{path}.{name}"]
        # Go's omitempty omits no struct; omitzero does.
        return value + (empty if value == "string" or (field is not None and "omitzero" in field.tag) else "")
    home = sources.packages[path]
    if name in home.others:
        under = home.others[name].removeprefix("= ")
        return wire_type(sources, home, under, field if under in _SCALARS and bare == go_type else None)
    message = f"{sources.prefixes[path]}.{name}"
    if "PropsOr" in name:
        return "|" + message  # in JSON, one of its fields stands in its place
    return (">" if field is not None and field.inline else "") + message


def table(sources: Sources, message: str) -> tuple[dict[int, tuple[str, str]], dict[str, dict[str, object]]]:
    """(number -> (JSON name, type), field -> rules) of one message."""
    prefix, _, name = message.rpartition(".")
    package = sources.package(prefix)
    fields: dict[int, tuple[str, str]] = {}
    rules: dict[str, dict[str, object]] = {}
    for field in package.structs[name]:
        shown = (field.proto_name or field.go_name[:1].lower() + field.go_name[1:]) if field.inline else field.json
        type_ = wire_type(sources, package, field.type, field)
        fields[field.number] = (shown, type_)
        made = dict(_rules(sources, package, name, field, type_))
        if made:
            rules[shown] = made
    if "structType" in (markers := package.struct_markers[name]) and markers["structType"] == ["atomic"]:
        rules[""] = {"map": "atomic"}
    return dict(sorted(fields.items())), rules


def _rules(sources: Sources, package: Package, struct: str, field: Field, type_: str) -> Iterator[tuple[str, object]]:
    """What the schema says of a field beyond its type."""
    tag = dict(re.findall(r'(\w+):"([^"]*)"', field.tag))
    status = bool(_STATUS.search(struct))
    if not field.optional and not field.inline and not status and type_ not in ("bool", "int32", "int64", "double"):
        yield "required", True
    markers = field.markers
    if "listType" in markers:
        yield "list", markers["listType"][0]
    if "listMapKey" in markers:
        yield "keys", markers["listMapKey"]
    for marker in ("mapType", "structType"):
        if marker in markers:
            yield "map", markers[marker][0]
    if "patchMergeKey" in tag:
        yield "mergeKey", tag["patchMergeKey"]
    if "patchStrategy" in tag:
        yield "strategy", tag["patchStrategy"]
    if "default" in markers:
        yield "default", _default(package, markers["default"][0])
    bare = field.type.removeprefix("*").removeprefix("[]")
    if bare not in _SCALARS and bare[:1].isalpha() and "map[" not in bare and not status:
        path, name = sources.resolve(bare, package)
        home = sources.packages.get(path)
        if home is not None and name in home.enums and home.words.get(name):
            yield "enum", sorted(set(home.words[name]))


def _default(package: Package, text: str) -> object:
    reference = re.fullmatch(r"ref\((?:[\w./]+\.)?(\w+)\)", text)
    return package.constants[reference[1]] if reference else json.loads(text)


def reached(sources: Sources) -> tuple[dict[str, dict[int, tuple[str, str]]], dict[str, dict[str, dict[str, object]]]]:
    """The tables and the rules of every message that a root holds."""
    waiting = [f"{prefix}.{name}" for prefix, names in ROOTS.items() for name in names]
    tables: dict[str, dict[int, tuple[str, str]]] = {}
    rules: dict[str, dict[str, dict[str, object]]] = {}
    while waiting:
        message = waiting.pop()
        if message in tables:
            continue
        tables[message], found = table(sources, message)
        if found:
            rules[message] = found
        for _, type_ in tables[message].values():
            bare = re.sub(r"^(\[\]|\{\}|[>|])+|\?$", "", type_)
            if "." in bare:
                waiting.append(bare)
    return dict(sorted(tables.items())), dict(sorted(rules.items()))


def lines(content: dict[str, object]) -> str:
    """JSON with one entry a line, so that changes can be read."""
    rows = [f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}" for key, value in content.items()]
    return "{\n" + ",\n".join(rows) + "\n}\n"


def main() -> None:
    """Write the data files."""
    sources = Sources(*map(Path, sys.argv[1:5]))
    tables, rules = reached(sources)
    for file, content in ((RESOURCES / "wire.json", tables), (RESOURCES / "stored" / "rules.json", rules)):
        text = lines(dict(content))
        if not file.exists() or file.read_text() != text:
            file.write_text(text)
            sys.stdout.write(f"{file}: {len(content)} messages, {len(text)} bytes\n")


if __name__ == "__main__":
    main()
