{{/* Name of all objects of this release; short enough for a label. */}}
{{- define "meridian.name" -}}
{{- default .Release.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}-operator
{{- end }}

{{/* Name of cluster-wide objects; contains the namespace, so that releases of equal names do not collide. */}}
{{- define "meridian.clusterName" -}}
{{ .Release.Namespace }}-{{ include "meridian.name" . }}
{{- end }}

{{- define "meridian.selector" -}}
app.kubernetes.io/name: meridian-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "meridian.labels" -}}
{{ include "meridian.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: meridian
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Permissions of the operator in a watched namespace: no wildcards, no list of Secrets, no exec, no deletion of data. */}}
{{- define "meridian.rules" -}}
- apiGroups: [meridiandb.io]
  resources: [vectorclusters, replicationlinks]
  verbs: [get, list, watch]
- apiGroups: [meridiandb.io]
  resources: [vectorclusters/status, replicationlinks/status]
  verbs: [update]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [pods/eviction]
  verbs: [create]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [list, patch]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- if .Values.istio.enabled }}
- apiGroups: [networking.istio.io]
  resources: [virtualservices, destinationrules]
  verbs: [get, list, create, patch, delete]
{{- end }}
{{- if .Values.strimzi.enabled }}
- apiGroups: [kafka.strimzi.io]
  resources: [kafkamirrormaker2s]
  verbs: [get, list, create, patch, delete]
{{- end }}
{{- end }}
