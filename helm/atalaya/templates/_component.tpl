{{/* Objects of a component. In: root, name, component; metadata's suffix of the name too. */}}

{{- define "atalaya.metadata" -}}
name: {{ include "atalaya.fullname" .root }}-{{ .name }}{{ .suffix }}
labels:
  {{- include "atalaya.selector" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .name }}
  {{- include "atalaya.labels" .root | nindent 2 }}
{{- end -}}

{{- define "atalaya.podSelector" -}}
matchLabels:
  {{- include "atalaya.selector" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{- define "atalaya.workload" -}}
{{- $c := .component -}}
apiVersion: apps/v1
kind: {{ $c.kind }}
metadata:
  {{- include "atalaya.metadata" . | nindent 2 }}
spec:
  replicas: {{ $c.replicas }}
  selector:
    {{- include "atalaya.podSelector" . | nindent 4 }}
  {{- if eq $c.kind "StatefulSet" }}
  serviceName: {{ include "atalaya.fullname" .root }}-{{ .name }}-pods
  podManagementPolicy: Parallel
  # What was answered may stand nowhere else: a volume outlives its pod.
  persistentVolumeClaimRetentionPolicy: {whenDeleted: Retain, whenScaled: Retain}
  {{- with $c.storage }}
  volumeClaimTemplates:
    - apiVersion: v1
      kind: PersistentVolumeClaim
      metadata:
        name: data
      spec:
        accessModes: {{ .accessModes | default (list "ReadWriteOnce") | toJson }}
        {{- with .storageClassName }}
        storageClassName: {{ . }}
        {{- end }}
        resources: {requests: {storage: {{ .size }}}}
  {{- end }}
  {{- else }}
  strategy:
    type: RollingUpdate
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
  {{- end }}
  template:
    {{- include "atalaya.pod" . | nindent 4 }}
{{- end -}}

{{- define "atalaya.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "atalaya.metadata" . | nindent 2 }}
  {{- with .component.serviceAccountAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end -}}

{{/* Each pod by name, and its metrics. */}}
{{- define "atalaya.headless" -}}
{{- $root := .root -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "atalaya.metadata" (merge (dict "suffix" "-pods") .) | nindent 2 }}
    atalaya/metrics: 'true'
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector:
    {{- include "atalaya.selector" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .name }}
  ports:
    - {name: health, port: {{ include "atalaya.port" (dict "root" $root "section" "health") }}, targetPort: health}
    {{- range $door, $section := .component.doors }}
    - {name: {{ $door }}, port: {{ include "atalaya.port" (dict "root" $root "section" $section) }}, targetPort: {{ $door }}}
    {{- end }}
{{- end -}}

{{- define "atalaya.service" -}}
{{- $root := .root -}}
{{- $s := .component.service -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "atalaya.metadata" . | nindent 2 }}
  {{- with $s.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ $s.type }}
  sessionAffinity: {{ $s.sessionAffinity }}
  {{- with $s.externalTrafficPolicy }}
  externalTrafficPolicy: {{ . }}
  {{- end }}
  {{- with $s.loadBalancerSourceRanges }}
  loadBalancerSourceRanges:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  selector:
    {{- include "atalaya.selector" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .name }}
  ports:
    {{- range $door, $section := .component.doors }}
    - name: {{ $door }}
      appProtocol: https
      port: {{ include "atalaya.port" (dict "root" $root "section" $section) }}
      targetPort: {{ $door }}
    {{- end }}
{{- end -}}

{{- define "atalaya.disruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "atalaya.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ .component.podDisruptionBudget.maxUnavailable }}
  # A pod that is not ready holds no drain of a node back.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    {{- include "atalaya.podSelector" . | nindent 4 }}
{{- end -}}
