"""A helm chart with one of everything: a kind of its own, workloads, rights, hooks that are Jobs, a test, lookups, a schema."""

from __future__ import annotations

from pathlib import Path

FILES = {
    "Chart.yaml": """
apiVersion: v2
name: shop
description: One of everything
version: 0.1.0
appVersion: "1"
""",
    "values.yaml": """
replicas: 1
greeting: hello
ready: "true"
hook: "true"
""",
    "values.schema.json": '{"type": "object", "properties": {"replicas": {"type": "integer", "minimum": 0}}}',
    "crds/parcels.yaml": """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: parcels.shop.example.com}
spec:
  group: shop.example.com
  scope: Namespaced
  names: {plural: parcels, singular: parcel, kind: Parcel}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties: {spec: {type: object, properties: {weight: {type: integer, minimum: 1}}}}
""",
    "templates/_names.tpl": '{{- define "labels" }}{app: {{ .Release.Name }}}{{ end }}',
    "templates/account.yaml": """
apiVersion: v1
kind: ServiceAccount
metadata: {name: {{ .Release.Name }}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: {{ .Release.Name }}}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: {{ .Release.Name }}}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: {{ .Release.Name }}}
subjects: [{kind: ServiceAccount, name: {{ .Release.Name }}, namespace: {{ .Release.Namespace }}}]
""",
    "templates/web.yaml": """
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}}
data:
  greeting: {{ .Values.greeting | quote }}
  version: {{ .Capabilities.KubeVersion.Minor | quote }}
  served: {{ .Capabilities.APIVersions.Has "apps/v1/Deployment" | quote }}
  found: {{ dig "metadata" "name" "nobody" (lookup "v1" "Namespace" "" .Release.Namespace) | quote }}
---
apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}}
spec: {selector: {{ include "labels" . }}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}, labels: {{ include "labels" . }}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {{ include "labels" . }}}
  template:
    metadata: {labels: {{ include "labels" . }}, annotations: {sum: {{ .Values.greeting | sha256sum }}}}
    spec:
      terminationGracePeriodSeconds: 0
      serviceAccountName: {{ .Release.Name }}
      containers:
      - name: main
        image: "x:1"
        command: [sleep, "600"]
        readinessProbe: {exec: {command: [{{ .Values.ready | quote }}]}, periodSeconds: 1}
        resources: {requests: {cpu: 0.01, memory: 1024Ki}}
---
apiVersion: shop.example.com/v1
kind: Parcel
metadata: {name: {{ .Release.Name }}}
spec: {weight: 3}
""",
    "templates/hooks.yaml": """
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-before
  annotations: {helm.sh/hook: "pre-install,pre-upgrade", helm.sh/hook-delete-policy: before-hook-creation}
spec:
  backoffLimit: 0
  template: {spec: {restartPolicy: Never, containers: [{name: a, image: x, command: [{{ .Values.hook | quote }}]}]}}
---
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-after
  annotations: {helm.sh/hook: post-delete, helm.sh/hook-delete-policy: "before-hook-creation,hook-succeeded"}
spec:
  template: {spec: {restartPolicy: Never, containers: [{name: a, image: x, command: ["true"]}]}}
""",
    "templates/tests/greeting.yaml": """
apiVersion: v1
kind: Pod
metadata:
  name: {{ .Release.Name }}-test
  annotations: {helm.sh/hook: test, helm.sh/hook-delete-policy: before-hook-creation}
spec:
  restartPolicy: Never
  containers: [{name: a, image: x, command: [echo, "tested {{ .Values.greeting }}"]}]
""",
    "templates/NOTES.txt": "Say {{ .Values.greeting }}.\n",
}


def write_chart(folder: Path) -> Path:
    """Write the chart below `folder`; returns its own folder."""
    for name, text in FILES.items():
        path = folder / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.lstrip())
    return folder / "shop"
