{{/* What a component's pods may be reached by and reach. In: root, name, component. */}}
{{- define "atalaya.networkPolicy" -}}
{{- $root := .root -}}
{{- $c := .component -}}
{{- $rules := $root.Values.networkPolicy -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "atalaya.metadata" . | nindent 2 }}
spec:
  podSelector:
    {{- include "atalaya.podSelector" . | nindent 4 }}
  policyTypes: [Ingress, Egress]
  {{- if or (and $c.doors $rules.doors.from) $rules.metrics.from }}
  ingress:
    {{- if and $c.doors $rules.doors.from }}
    - from:
        {{- toYaml $rules.doors.from | nindent 8 }}
      ports:
        {{- range $door, $section := $c.doors }}
        - {protocol: TCP, port: {{ $door }}}
        {{- end }}
    {{- end }}
    {{- with $rules.metrics.from }}
    - from:
        {{- toYaml . | nindent 8 }}
      ports:
        - {protocol: TCP, port: health}
    {{- end }}
  {{- end }}
  egress:
    - to:
        {{- toYaml $rules.dns.to | nindent 8 }}
      ports:
        - {protocol: UDP, port: 53}
        - {protocol: TCP, port: 53}
    {{- range $where := append $c.connects "telemetry" }}
    {{- $ports := include "atalaya.egressPorts" (dict "root" $root "where" $where) | fromJsonArray }}
    {{- if $ports }}
    # {{ $where }}
    - ports:
        {{- range $ports }}
        - {protocol: TCP, port: {{ . }}}
        {{- end }}
      {{- with (get $rules.egress $where).to }}
      to:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- end }}
    {{- end }}
{{- end -}}

{{/* Ports towards a server: as given, or those that its URL names, or its scheme's. Out: JSON. In: root, where. */}}
{{- define "atalaya.egressPorts" -}}
{{- $given := (get .root.Values.networkPolicy.egress .where).ports -}}
{{- $url := get .root.Values.config .where | default "" | toString -}}
{{- if hasPrefix "s3://" $url -}}
{{- $url = get (.root.Values.config.s3 | default dict) "endpoint" | default $url -}}
{{- end -}}
{{- if eq .where "telemetry" -}}
{{- $otlp := get (.root.Values.config.telemetry | default dict) "otlp" | default dict -}}
{{- $url = get $otlp "endpoint" | default "" -}}
{{- end -}}
{{- $usual := dict "nats" 4222 "tls" 4222 "cassandra" 9042 "http" 80 -}}
{{- if $given -}}
{{- $given | toJson -}}
{{- else if contains "://" $url -}}
{{- $ports := list -}}
{{- range regexFindAll ":[0-9]+(,|/|\\?|$)" (regexReplaceAll "^[a-z0-9+]+://" $url "") -1 -}}
{{- $ports = append $ports (regexFind "[0-9]+" . | int) -}}
{{- end -}}
{{- if not $ports -}}
{{- $ports = list (get $usual (splitList "://" $url | first) | default 443) -}}
{{- end -}}
{{- $ports | uniq | toJson -}}
{{- else -}}
[]
{{- end -}}
{{- end -}}
