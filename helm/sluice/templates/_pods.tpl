{{/* The pods that Ray runs in. One shape for all rooms; what a room alone has is asked for by its name. */}}

{{/* Ports that Ray would else choose by itself: fixed, so that a NetworkPolicy can name them and none is ours. */}}
{{- define "sluice.rayPorts" -}}
node-manager-port: "6380"
object-manager-port: "6381"
runtime-env-agent-port: "6382"
dashboard-agent-grpc-port: "6383"
metrics-export-port: "6384"
dashboard-agent-listen-port: "52365"
min-worker-port: "10002"
max-worker-port: "19999"
object-store-memory: "104857600"
{{- end -}}

{{/* (dict "root" . "room" "gateway" "group" "gateway" "of" .Values.gateways) */}}
{{- define "sluice.pod" -}}
{{- $root := .root -}}
{{- $v := .root.Values -}}
{{- $room := .room -}}
{{- $of := .of -}}
{{- $gpus := int ($of.gpus | default 0) -}}
{{- $registers := has $room (list "control" "pool") -}}
{{- /* Spans are sent by the process that a gateway has beside its workers, and by nobody else. */}}
{{- $traces := eq $room "gateway" -}}
metadata:
  labels:
    {{- include "sluice.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .group }}
    sluice-room: {{ $room }}
  {{- with $of.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "sluice.account" (dict "root" $root "room" $room) }}
  # Only the autoscaler, in the head's pod, talks to Kubernetes.
  automountServiceAccountToken: {{ and (eq $room "head") $v.ray.autoscaling.enabled }}
  # Variables of Services begin with their names, and what begins with SLUICE_ is read as a setting.
  enableServiceLinks: false
  {{- if eq $room "gateway" }}
  # The hook's drain, and half a minute for Ray to take its leave.
  terminationGracePeriodSeconds: {{ add 30 $of.drain.delaySeconds $of.drain.limitSeconds }}
  {{- else }}
  # Ray drains a node for half a minute, and a pool its servers for as long again.
  terminationGracePeriodSeconds: 60
  {{- end }}
  {{- with $v.image.pullSecrets }}
  imagePullSecrets: {{- range . }}
    - name: {{ . }}
  {{- end }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: {{ $v.security.runAsUser }}
    runAsGroup: {{ $v.security.runAsGroup }}
    fsGroup: {{ $v.security.fsGroup }}
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: {type: RuntimeDefault}
  {{- with $of.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $of.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with $of.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $of.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $of.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $of.spread }}
  topologySpreadConstraints:
    {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - topologyKey: {{ . }}
      maxSkew: 1
      whenUnsatisfiable: {{ $of.spread.whenUnsatisfiable }}
      labelSelector:
        matchLabels:
          {{- include "sluice.selector" $root | nindent 10 }}
          app.kubernetes.io/component: {{ $.group }}
    {{- end }}
  {{- end }}
  containers:
    - name: ray-{{ if eq $room "head" }}head{{ else }}worker{{ end }}
      image: {{ include "sluice.image" (dict "root" $root "image" $of.image) }}
      imagePullPolicy: {{ $v.image.pullPolicy }}
      securityContext: {{- include "sluice.containerSecurity" . | nindent 8 }}
      env:
        - {name: HOME, value: /tmp}
        - {name: RAY_USAGE_STATS_ENABLED, value: "0"}
        # Ray's own figures are behind no token; Sluice's are on the control pod's port for metrics.
        - {name: RAY_enable_metrics_collection, value: "0"}
        # After the loss of the head Ray Serve kills every replica that it has not found again within this many seconds,
        # 30 where nothing is said. Nodes take up to 30 to see the new head's address, and wait 600 for it.
        - {name: RAY_SERVE_SLOW_STARTUP_WARNING_S, value: "600"}
        - {name: SLUICE_CACHE_DIR, value: /var/lib/sluice/cache}
        {{- if has $room (list "gateway" "control") }}
        - {name: SLUICE_CONFIG, value: /etc/sluice/sluice.yaml}
        {{- end }}
        {{- if eq $room "control" }}
        # The application is built in this pod and nowhere else, so the others know neither address nor key.
        {{- if eq $v.redis.mode "valkey" }}
        - name: VALKEY_PASSWORD
          valueFrom:
            secretKeyRef: {{- toYaml $v.redis.valkey.passwordSecret | nindent 14 }}
        - {name: SLUICE_REDIS__URL, value: "redis://:$(VALKEY_PASSWORD)@{{ include "sluice.valkeyHost" $root }}:6379/0"}
        {{- else }}
        - name: SLUICE_REDIS__URL
          valueFrom:
            secretKeyRef: {{- toYaml $v.redis.external.urlSecret | nindent 14 }}
        {{- end }}
        {{- end }}
        {{- if $traces }}
        {{- range $name, $value := $v.tracing.env }}
        - {name: {{ $name }}, value: {{ $value | quote }}}
        {{- end }}
        {{- if $v.tracing.caSecret.name }}
        - {name: OTEL_EXPORTER_OTLP_CERTIFICATE, value: /etc/sluice-tracing/ca.crt}
        {{- end }}
        {{- end }}
      {{- with (or (and $registers $v.registry.envSecret) (and $traces $v.tracing.envSecret)) }}
      envFrom:
        - secretRef: {name: {{ . }}}
      {{- end }}
      ports: {{- include "sluice.ports" . | nindent 8 }}
      {{- include "sluice.probes" . | nindent 6 }}
      {{- if eq $room "gateway" }}
      lifecycle:
        preStop:
          exec: {command: [sluice, drain, --local]}
      {{- end }}
      resources:
        requests:
          {{- toYaml $of.resources.requests | nindent 10 }}
          {{- if $gpus }}
          nvidia.com/gpu: {{ $gpus }}
          {{- end }}
        limits:
          {{- toYaml $of.resources.limits | nindent 10 }}
          {{- if $gpus }}
          nvidia.com/gpu: {{ $gpus }}
          {{- end }}
      volumeMounts:
        - {name: shm, mountPath: /dev/shm}
        - {name: scratch, mountPath: /tmp}
        - {name: state, mountPath: /var/lib/sluice}
        {{- if has $room (list "gateway" "control") }}
        - {name: settings, mountPath: /etc/sluice, readOnly: true}
        {{- end }}
        {{- if and $v.tls.secretName (has $room (list "gateway" "control")) }}
        - {name: tls, mountPath: /etc/sluice-tls, readOnly: true}
        {{- end }}
        {{- if and (eq $room "control") $v.access.adminKeySecret.name }}
        - {name: admin-key, mountPath: /etc/sluice-key, readOnly: true}
        {{- end }}
        {{- if and (ne $room "head") (eq $v.redis.mode "external") $v.redis.external.caSecret.name }}
        - {name: redis-ca, mountPath: /etc/sluice-redis, readOnly: true}
        {{- end }}
        {{- if and $traces $v.tracing.caSecret.name }}
        - {name: tracing-ca, mountPath: /etc/sluice-tracing, readOnly: true}
        {{- end }}
        {{- if and $registers (not $v.registry.address) }}
        - {name: artifacts, mountPath: /var/lib/sluice-artifacts}
        {{- end }}
        {{- if $registers }}
        {{- with $v.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- end }}
  volumes:
    - name: shm
      emptyDir: {medium: Memory, sizeLimit: {{ $of.shm }}}
    - name: scratch
      emptyDir: {sizeLimit: {{ $of.scratch }}}
    - name: state
      {{- if and (eq $room "control") $v.control.persistence.enabled }}
      persistentVolumeClaim: {claimName: {{ $v.control.persistence.existingClaim | default (printf "%s-control" (include "sluice.fullname" $root)) }}}
      {{- else }}
      emptyDir: {sizeLimit: {{ $of.scratch }}}
      {{- end }}
    {{- if has $room (list "gateway" "control") }}
    - name: settings
      configMap: {name: {{ include "sluice.fullname" $root }}-settings}
    {{- end }}
    {{- if and $v.tls.secretName (has $room (list "gateway" "control")) }}
    - name: tls
      secret: {secretName: {{ $v.tls.secretName }}, defaultMode: 0440}
    {{- end }}
    {{- if and (eq $room "control") $v.access.adminKeySecret.name }}
    - name: admin-key
      secret:
        secretName: {{ $v.access.adminKeySecret.name }}
        defaultMode: 0440
        items: [{key: {{ $v.access.adminKeySecret.key }}, path: admin-key}]
    {{- end }}
    {{- if and (ne $room "head") (eq $v.redis.mode "external") $v.redis.external.caSecret.name }}
    - name: redis-ca
      secret:
        secretName: {{ $v.redis.external.caSecret.name }}
        defaultMode: 0440
        items: [{key: {{ $v.redis.external.caSecret.key }}, path: ca.crt}]
    {{- end }}
    {{- if and $traces $v.tracing.caSecret.name }}
    - name: tracing-ca
      secret:
        secretName: {{ $v.tracing.caSecret.name }}
        defaultMode: 0440
        items: [{key: {{ $v.tracing.caSecret.key }}, path: ca.crt}]
    {{- end }}
    {{- if and $registers (not $v.registry.address) }}
    - name: artifacts
      persistentVolumeClaim: {claimName: {{ $v.registry.claim.existing | default (printf "%s-artifacts" (include "sluice.fullname" $root)) }}}
    {{- end }}
    {{- if $registers }}
    {{- with $v.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- end }}
{{- end -}}

{{- define "sluice.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "sluice.ports" -}}
- {name: ray-agent, containerPort: 52365}
{{- if eq .room "head" }}
- {name: gcs-server, containerPort: 6379}
- {name: dashboard, containerPort: 8265}
- {name: client, containerPort: 10001}
{{- else if eq .room "gateway" }}
- {name: http, containerPort: 8000}
- {name: grpc, containerPort: 8001}
{{- else if eq .room "control" }}
- {name: control, containerPort: 8080}
- {name: metrics, containerPort: 8002}
{{- end }}
{{- end -}}

{{/* KubeRay's own probes ask for Serve's proxy, and there is none: ours say what each pod is for. */}}
{{- define "sluice.probes" -}}
startupProbe:
  httpGet: {path: /api/local_raylet_healthz, port: ray-agent}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /api/local_raylet_healthz, port: ray-agent}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 12
readinessProbe:
  {{- if eq .room "gateway" }}
  httpGet: {path: /v2/health/ready, port: http, scheme: {{ include "sluice.scheme" .root }}}
  periodSeconds: 2
  {{- else if eq .room "control" }}
  httpGet: {path: /healthz, port: control, scheme: {{ include "sluice.scheme" .root }}}
  periodSeconds: 5
  {{- else if eq .room "head" }}
  httpGet: {path: /api/gcs_healthz, port: dashboard}
  periodSeconds: 5
  {{- else }}
  httpGet: {path: /api/local_raylet_healthz, port: ray-agent}
  periodSeconds: 5
  {{- end }}
  timeoutSeconds: 2
  failureThreshold: 2
{{- end -}}
