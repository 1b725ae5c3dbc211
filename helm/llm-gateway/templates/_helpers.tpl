{{/* The name of everything in a release; short enough for the longest suffix (-policies) within 63 characters. */}}
{{- define "llm-gateway.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 54 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 54 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 54 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What selects the pods. Immutable in a Deployment: never add a version to it. */}}
{{- define "llm-gateway.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "llm-gateway.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "llm-gateway.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "llm-gateway.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "llm-gateway.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "llm-gateway.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "llm-gateway.policies" -}}
{{- default (printf "%s-policies" (include "llm-gateway.fullname" .)) .Values.policies.existingConfigMap -}}
{{- end -}}

{{/* How many pods there may be. */}}
{{- define "llm-gateway.most" -}}
{{- if .Values.autoscaling.enabled -}}{{ .Values.autoscaling.maxReplicas }}{{- else -}}{{ .Values.replicaCount }}{{- end -}}
{{- end -}}

{{/* What a schema cannot say. */}}
{{- define "llm-gateway.agreement" -}}
{{- if and (eq .Values.store.url "memory://") (gt (int (include "llm-gateway.most" .)) 1) -}}
{{- fail "store.url is memory://, which one pod counts alone: with more than one replica every limit would be multiplied. Set store.url to redis://…, or replicaCount to 1 and autoscaling.enabled to false." -}}
{{- end -}}
{{- if and (eq .Values.store.url "memory://") (gt (int .Values.workers) 1) -}}
{{- fail "store.url is memory://, which one process counts alone: with more than one worker every limit would be multiplied. Set store.url to redis://…, or workers to 1." -}}
{{- end -}}
{{- if and .Values.store.sentinelPasswordSecret.name (not (contains "+sentinel://" .Values.store.url)) -}}
{{- fail "store.sentinelPasswordSecret is set, and store.url has no Sentinels." -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) -}}
{{- fail "ingress.enabled is true, and ingress.host says no name." -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (lt (int .Values.autoscaling.maxReplicas) (int .Values.autoscaling.minReplicas)) -}}
{{- fail "autoscaling.maxReplicas is below autoscaling.minReplicas." -}}
{{- end -}}
{{- $ports := list (int .Values.ports.http) (int .Values.ports.health) (int .Values.ports.admin) -}}
{{- if ne (len ($ports | uniq)) 3 -}}
{{- fail "ports.http, ports.health and ports.admin must differ: they are three listeners of one process." -}}
{{- end -}}
{{- end -}}
