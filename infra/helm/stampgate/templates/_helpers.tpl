{{- define "stampgate.labels" -}}
app.kubernetes.io/name: stampgate
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}
{{- define "stampgate.selector" -}}
app.kubernetes.io/name: stampgate
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{/* What the chart decides, over what the values say. */}}
{{- define "stampgate.config" -}}
{{- $etcd := merge (dict "caFile" "/etc/stampgate/etcd/ca.crt" "certFile" "/etc/stampgate/etcd/tls.crt" "keyFile" "/etc/stampgate/etcd/tls.key") .Values.gateway.policy.etcd -}}
{{- $policy := merge (dict "etcd" $etcd "cacheDir" "/var/lib/stampgate") .Values.gateway.policy -}}
{{- $own := dict
  "listen" "0.0.0.0:8443"
  "tls" (dict "certFile" "/etc/stampgate/tls/tls.crt" "keyFile" "/etc/stampgate/tls/tls.key")
  "admin" (dict "listen" "0.0.0.0:9443" "tokenFile" "/etc/stampgate/gateway/admin.token")
  "gossip" (dict "listen" "0.0.0.0:7946" "join" (list (printf "dns+%s-gossip.%s.svc.cluster.local:7946" .Release.Name .Release.Namespace)) "keyFile" "/etc/stampgate/gateway/gossip.keys")
  "policy" $policy
  "drain" (dict "notice" (printf "%ds" (int .Values.drain.noticeSeconds)) "timeout" (printf "%ds" (int .Values.drain.timeoutSeconds))) -}}
{{- if eq .Values.service.kind "internal" -}}
{{- /* All clients have one address then: what is in front of the gateways. A quarter of the connections would be its limit. */ -}}
{{- $given := .Values.gateway.limits | default dict -}}
{{- $_ := set $own "limits" (merge (dict) $given (dict "connectionsPerSource" (int ($given.connections | default 16384)))) -}}
{{- end -}}
{{- merge $own .Values.gateway | toYaml -}}
{{- end }}
{{/* 90 % of the limit of memory, in MiB: Go collects before Kubernetes ends the process. */}}
{{- define "stampgate.goMemoryLimit" -}}
{{- $limit := .Values.resources.limits.memory -}}
{{- $mebibytes := trimSuffix "Mi" $limit | trimSuffix "Gi" | int -}}
{{- if hasSuffix "Gi" $limit }}{{ $mebibytes = mul $mebibytes 1024 }}{{ end -}}
{{- div (mul $mebibytes 9) 10 -}}
MiB
{{- end }}
