{{/*
The configuration directory, as JSON: {key of the ConfigMap: {path, text}}. A key is the path with dots for slashes;
names have no dots of their own (values.schema.json), so no two paths share a key.
*/}}
{{- define "atalaya.files" -}}
{{- $settings := dict -}}
{{- range $section, $content := .Values.config -}}
{{- if not (kindIs "invalid" $content) -}}
{{- $_ := set $settings $section $content -}}
{{- end -}}
{{- end -}}
{{- $files := dict "atalaya.yaml" (dict "path" "atalaya.yaml" "text" (toYaml $settings)) -}}
{{- range $name, $content := .Values.tenants -}}
{{- $_ := set $files (printf "tenants.%s.yaml" $name) (dict "path" (printf "tenants/%s.yaml" $name) "text" (toYaml $content)) -}}
{{- end -}}
{{- range $name, $content := .Values.sources -}}
{{- $_ := set $files (printf "sources.%s.yaml" $name) (dict "path" (printf "sources/%s.yaml" $name) "text" (toYaml $content)) -}}
{{- end -}}
{{- range $path, $text := .Values.rules -}}
{{- $_ := set $files (printf "rules.%s" (replace "/" "." $path)) (dict "path" (printf "rules/%s" $path) "text" $text) -}}
{{- end -}}
{{- $files | toJson -}}
{{- end -}}

{{/* What a pod is made anew for. */}}
{{- define "atalaya.digest" -}}
{{- $files := include "atalaya.files" . -}}
{{- if .Values.restartOnChange -}}
{{- $files | sha256sum -}}
{{- else -}}
{{- (get ($files | fromJson) "atalaya.yaml").text | sha256sum -}}
{{- end -}}
{{- end -}}
