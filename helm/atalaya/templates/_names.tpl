{{- define "atalaya.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Short enough for a component's name and a pod's number after it. */}}
{{- define "atalaya.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 36 | trimSuffix "-" -}}
{{- else if contains (include "atalaya.name" .) .Release.Name -}}
{{- .Release.Name | trunc 36 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "atalaya.name" .) | trunc 36 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "atalaya.selector" -}}
app.kubernetes.io/name: {{ include "atalaya.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "atalaya.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* What a component is: its own values over the defaults. In: root, name. Out: JSON. */}}
{{- define "atalaya.component" -}}
{{- mergeOverwrite (deepCopy .root.Values.defaults) (index .root.Values.components .name) | toJson -}}
{{- end -}}

{{/* What is asked for must fit together; a component's fault would show only in its log. */}}
{{- define "atalaya.check" -}}
{{- $single := (include "atalaya.component" (dict "root" . "name" "all-in-one") | fromJson).enabled -}}
{{- range $name := keys .Values.components | sortAlpha -}}
{{- $component := include "atalaya.component" (dict "root" $ "name" $name) | fromJson -}}
{{- if and $component.enabled $single (ne $name "all-in-one") -}}
{{- fail (printf "components.all-in-one and components.%s are both enabled: the first runs all seven (see values-all-in-one.yaml)" $name) -}}
{{- end -}}
{{- if and $component.enabled $component.storage (ne $component.kind "StatefulSet") -}}
{{- fail (printf "components.%s.storage: only a StatefulSet has volumes of its own" $name) -}}
{{- end -}}
{{- if and $component.enabled (ne $name "all-in-one") -}}
{{- range $store := $component.connects -}}
{{- if ne $store "receivers" -}}
{{- $url := get $.Values.config $store | default "" -}}
{{- if or (not $url) (hasPrefix "file:" $url) -}}
{{- fail (printf "config.%s: '%s' cannot be shared by several pods: name a server's URL" $store $url) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The port of a listener. In: root, section. */}}
{{- define "atalaya.port" -}}
{{- $listen := get (get .root.Values.config .section | default dict) "listen" | default "" -}}
{{- $port := regexFind "[0-9]+$" $listen -}}
{{- if not $port -}}
{{- fail (printf "config.%s.listen: ADDRESS:PORT is needed, such as 0.0.0.0:7400" .section) -}}
{{- end -}}
{{- $port -}}
{{- end -}}
