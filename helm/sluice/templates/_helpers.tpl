{{/* Names, labels, images: what every template says alike. */}}

{{- define "sluice.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Short enough for what KubeRay and we append to it. */}}
{{- define "sluice.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 35 | trimSuffix "-" -}}
{{- else if contains (include "sluice.name" .) .Release.Name -}}
{{- .Release.Name | trunc 35 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "sluice.name" .) | trunc 35 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "sluice.selector" -}}
app.kubernetes.io/name: {{ include "sluice.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sluice.labels" -}}
{{ include "sluice.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* An image: (dict "root" . "image" {repository, tag, digest}); what is empty is the one of all pods. */}}
{{- define "sluice.image" -}}
{{- $all := .root.Values.image -}}
{{- $own := .image | default dict -}}
{{- $repository := $own.repository | default $all.repository -}}
{{- if $own.digest -}}
{{ printf "%s@%s" $repository $own.digest }}
{{- else if $own.tag -}}
{{ printf "%s:%s" $repository $own.tag }}
{{- else if and $all.digest (eq $repository $all.repository) -}}
{{ printf "%s@%s" $repository $all.digest }}
{{- else -}}
{{ printf "%s:%s" $repository ($all.tag | default .root.Chart.AppVersion) }}
{{- end -}}
{{- end -}}

{{/* The service account of a room: (dict "root" . "room" "gateway"). */}}
{{- define "sluice.account" -}}
{{- $named := get .root.Values.serviceAccounts.names .room -}}
{{- if .root.Values.serviceAccounts.create -}}
{{ $named | default (printf "%s-%s" (include "sluice.fullname" .root) .room) }}
{{- else -}}
{{ $named | default "default" }}
{{- end -}}
{{- end -}}

{{- define "sluice.scheme" -}}
{{ if .Values.tls.secretName }}HTTPS{{ else }}HTTP{{ end }}
{{- end -}}

{{- define "sluice.valkeyHost" -}}
{{ include "sluice.fullname" . }}-valkey.{{ .Release.Namespace }}.svc
{{- end -}}

{{/* A group of pools: the defaults, and above them what it gives. Merging functions would take 0 and false for nothing. */}}
{{- define "sluice.pool" -}}
{{- $of := deepCopy .defaults -}}
{{- range $key, $value := .given -}}
{{- if and (kindIs "map" $value) (has $key (list "budget" "spread" "image")) -}}
{{- $section := get $of $key -}}
{{- range $name, $part := $value }}{{ $_ := set $section $name $part }}{{ end -}}
{{- else -}}
{{- $_ := set $of $key $value -}}
{{- end -}}
{{- end -}}
{{- toYaml $of -}}
{{- end -}}

{{/* The pods that Ray runs in, as a selector. */}}
{{- define "sluice.rayPods" -}}
matchLabels:
  {{- include "sluice.selector" . | nindent 2 }}
matchExpressions:
  - {key: sluice-room, operator: In, values: [head, gateway, control, pool]}
{{- end -}}

{{/* What schema and templates cannot say of one value alone. */}}
{{- define "sluice.check" -}}
{{- $v := .Values -}}
{{- if not (or $v.access.adminKeySecret.name $v.access.tokens.issuer) -}}
{{- fail "access: nobody could be let in: name a Secret with an administering key as access.adminKeySecret.name, or an issuer as access.tokens.issuer" -}}
{{- end -}}
{{- if and (eq $v.redis.mode "valkey") (not $v.redis.valkey.passwordSecret.name) -}}
{{- fail "redis.valkey.passwordSecret.name: name the Secret with Valkey's password, or set redis.mode to external" -}}
{{- end -}}
{{- if eq $v.redis.mode "external" -}}
{{- if not $v.redis.external.urlSecret.name -}}
{{- fail "redis.external.urlSecret.name: name the Secret with the address of Redis" -}}
{{- end -}}
{{- if and $v.ray.gcsFaultTolerance (not $v.redis.external.gcsAddress) -}}
{{- fail "redis.external.gcsAddress: Ray is to keep its memory there (ray.gcsFaultTolerance): say where it is, or set ray.gcsFaultTolerance to false" -}}
{{- end -}}
{{- end -}}
{{- if and $v.metrics.serviceMonitor.enabled (not $v.metrics.serviceMonitor.keySecret.name) -}}
{{- fail "metrics.serviceMonitor.keySecret.name: Prometheus is asked for a key of the role operate: name the Secret that holds one" -}}
{{- end -}}
{{- if and $v.ingress.enabled $v.gatewayApi.enabled -}}
{{- fail "ingress.enabled and gatewayApi.enabled: take one of the two" -}}
{{- end -}}
{{- if and $v.gatewayApi.enabled (not $v.gatewayApi.parentRefs) -}}
{{- fail "gatewayApi.parentRefs: name the Gateway that the routes belong to" -}}
{{- end -}}
{{- if $v.ray.autoscaling.enabled -}}
{{- range $name, $given := $v.pools -}}
{{- $of := include "sluice.pool" (dict "defaults" $v.poolDefaults "given" $given) | fromYaml -}}
{{- if or (lt (int $of.maxReplicas) (int $of.replicas)) (lt (int $of.replicas) (int $of.minReplicas)) -}}
{{- fail (printf "pools.%s: with ray.autoscaling, replicas lie between minReplicas and maxReplicas" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $t := $v.tracing -}}
{{- if and (or $t.env $t.envSecret $t.caSecret.name) (not $v.settings.tracing.endpoint) -}}
{{- fail "tracing: no span is sent without a collector: say where it is as settings.tracing.endpoint" -}}
{{- end -}}
{{- range $name := keys $t.env | sortAlpha -}}
{{- if hasSuffix "_HEADERS" $name -}}
{{- fail (printf "tracing.env: what is in %s may be a secret: make it a key of a Secret, and name that as tracing.envSecret" $name) -}}
{{- else if hasSuffix "_ENDPOINT" $name -}}
{{- fail (printf "tracing.env: %s would not be read: say where the collector is as settings.tracing.endpoint" $name) -}}
{{- else if and $t.caSecret.name (has $name (list "OTEL_EXPORTER_OTLP_CERTIFICATE" "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE")) -}}
{{- fail (printf "tracing.env and tracing.caSecret: both say whom the collector's certificate must come from: leave %s out" $name) -}}
{{- end -}}
{{- end -}}
{{- if not $v.pools -}}
{{- fail "pools: without a group of pods no version finds a place: name at least one" -}}
{{- end -}}
{{- end -}}
