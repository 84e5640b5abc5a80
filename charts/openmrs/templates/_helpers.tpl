{{/* Labels that select the pods of a component: (list . "backend"). They never change. */}}
{{- define "openmrs.selector" -}}
app.kubernetes.io/name: openmrs
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Labels of an object of a component. */}}
{{- define "openmrs.labels" -}}
{{ include "openmrs.selector" . }}
app.kubernetes.io/part-of: audioprothese-platform
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
{{- end }}

{{/* Name of an object of a component. */}}
{{- define "openmrs.name" -}}
{{ printf "%s-%s" (index . 0).Release.Name (index . 1) | trunc 52 | trimSuffix "-" }}
{{- end }}

{{/* Address of a component's Service, with the final dot that spares the search list. */}}
{{- define "openmrs.address" -}}
{{ printf "%s.%s.svc.%s." (include "openmrs.name" .) (index . 0).Release.Namespace (index . 0).Values.clusterDomain }}
{{- end }}

{{/* Reference of an image: (list . .Values.backend.image). A digest decides what is pulled, the tag is for people. */}}
{{- define "openmrs.image" -}}
{{- $image := index . 1 -}}
{{ printf "%s/%s:%s" (default $image.registry (index . 0).Values.imageRegistry) $image.repository $image.tag }}
{{- with $image.digest }}@{{ . }}{{ end }}
{{- end }}

{{/* Spread over zones and nodes as far as there are any. */}}
{{- define "openmrs.spread" -}}
{{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "openmrs.selector" $ | nindent 6 }}
{{- end }}
{{- end }}

{{/* Pod Security "restricted", for a container whose image is nowhere written to. */}}
{{- define "openmrs.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* JDBC address: encrypted, the server's certificate and name are checked (MariaDB Connector/J 3). */}}
{{- define "openmrs.jdbcUrl" -}}
{{- with .Values.database -}}
jdbc:mariadb://{{ .host }}:{{ .port }}/{{ .name }}?useMysqlMetadata=true&sslMode=verify-full&serverSslCert=/run/openmrs-ca/ca.crt
{{- end }}
{{- end }}
