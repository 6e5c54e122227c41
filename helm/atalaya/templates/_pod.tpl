{{/* The pod of a component. In: root, name, component. */}}
{{- define "atalaya.pod" -}}
{{- $c := .component -}}
metadata:
  labels:
    {{- include "atalaya.selector" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .name }}
    {{- include "atalaya.labels" .root | nindent 4 }}
    {{- with $c.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    atalaya/config: {{ include "atalaya.digest" .root }}
    {{- with $c.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "atalaya.fullname" .root }}-{{ .name }}
  automountServiceAccountToken: false
  # A Service's variables (ATALAYA_…_PORT) would be taken for overrides of the configuration.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $c.terminationGracePeriodSeconds }}
  securityContext:
    {{- toYaml $c.podSecurityContext | nindent 4 }}
  {{- with .root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $c.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $c.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $c.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $c.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    {{- with $c.topologySpreadConstraints }}
    {{- toYaml . | nindent 4 }}
    {{- else }}
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "atalaya.selector" .root | nindent 10 }}
          app.kubernetes.io/component: {{ .name }}
    {{- end }}
  containers:
    - {{- include "atalaya.container" . | nindent 6 }}
  volumes:
    {{- include "atalaya.volumes" . | nindent 4 }}
{{- end -}}

{{- define "atalaya.image" -}}
{{- if .component.image -}}
{{- .component.image -}}
{{- else -}}
{{- $binary := eq .name "all-in-one" | ternary "atalaya" (printf "atalaya-%s" .name) -}}
{{- $registry := .root.Values.image.registry | trimSuffix "/" -}}
{{- $tag := .root.Values.image.tag | default .root.Chart.AppVersion -}}
{{- printf "%s%s:%s" (empty $registry | ternary "" (printf "%s/" $registry)) $binary $tag -}}
{{- end -}}
{{- end -}}

{{- define "atalaya.container" -}}
{{- $c := .component -}}
{{- $root := .root -}}
name: {{ .name }}
image: {{ include "atalaya.image" . }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
args:
  {{- toYaml $c.args | nindent 2 }}
{{- with include "atalaya.env" . }}
env:
  {{- . | nindent 2 }}
{{- end }}
ports:
  - name: health
    containerPort: {{ include "atalaya.port" (dict "root" $root "section" "health") }}
  {{- range $door, $section := $c.doors }}
  - name: {{ $door }}
    containerPort: {{ include "atalaya.port" (dict "root" $root "section" $section) }}
  {{- end }}
startupProbe:
  httpGet: {path: /live, port: health}
  {{- toYaml $c.startupProbe | nindent 2 }}
livenessProbe:
  httpGet: {path: /live, port: health}
  {{- toYaml $c.livenessProbe | nindent 2 }}
readinessProbe:
  httpGet: {path: /ready, port: health}
  {{- toYaml $c.readinessProbe | nindent 2 }}
{{- if $c.preStopSeconds }}
lifecycle:
  preStop:
    sleep: {seconds: {{ $c.preStopSeconds }}}
{{- end }}
resources:
  {{- toYaml $c.resources | nindent 2 }}
securityContext:
  {{- toYaml $c.securityContext | nindent 2 }}
volumeMounts:
  - {name: config, mountPath: /etc/atalaya, readOnly: true}
  - {name: tmp, mountPath: /tmp}
  {{- if $c.storage }}
  - {name: data, mountPath: /var/lib/atalaya}
  {{- end }}
  {{- if include "atalaya.secretFiles" . }}
  - {name: secrets, mountPath: /run/secrets/atalaya, readOnly: true}
  {{- end }}
  {{- with $c.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Variables: those of the secrets that the component may see, its pod's name, its own. */}}
{{- define "atalaya.env" -}}
{{- $name := .name -}}
{{- with .component.podNameVariable }}
- name: {{ . }}
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- end }}
{{- range $entry, $secret := .root.Values.secrets }}
{{- if or (not $secret.components) (has $name $secret.components) }}
{{- range $variable, $key := $secret.env }}
- name: {{ $variable }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret.secretName | replace "{component}" $name }}
      key: {{ $key | replace "{component}" $name }}
{{- end }}
{{- end }}
{{- end }}
{{- with .component.env }}
{{ toYaml . | replace "{component}" $name }}
{{- end }}
{{- end -}}

{{/* Sources of the projected volume with the secrets' files. */}}
{{- define "atalaya.secretFiles" -}}
{{- $name := .name -}}
{{- range $entry, $secret := .root.Values.secrets }}
{{- if and $secret.files (or (not $secret.components) (has $name $secret.components)) }}
- secret:
    name: {{ $secret.secretName | replace "{component}" $name }}
    items:
      {{- range $file, $key := $secret.files }}
      - {key: {{ $key | replace "{component}" $name | quote }}, path: {{ printf "%s/%s" $entry $file | quote }}}
      {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "atalaya.volumes" -}}
- name: config
  configMap:
    name: {{ include "atalaya.fullname" .root }}
    # A ConfigMap's keys are flat; the directory is not.
    items:
      {{- range $key, $file := include "atalaya.files" .root | fromJson }}
      - {key: {{ $key }}, path: {{ $file.path }}}
      {{- end }}
- name: tmp
  emptyDir: {sizeLimit: {{ .component.tmpSize }}}
{{- with include "atalaya.secretFiles" . }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- . | nindent 6 }}
{{- end }}
{{- with .component.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
