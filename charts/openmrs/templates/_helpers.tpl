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

{{/* Java options of the backend; several pods share caches by Infinispan, which reads system properties. */}}
{{- define "openmrs.javaServerOptions" -}}
{{ .Values.backend.javaServerOptions }}
{{- if gt (int .Values.backend.replicas) 1 }} -DjvmRoute=$(POD_NAME) -Dcache.type=cluster -Dcache.stack=kubernetes -Djgroups.dns.query={{ include "openmrs.address" (list . "backend-headless") | trimSuffix "." }}
{{- end }}
{{- end }}

{{/* Refuses several backend pods without what makes them one application (OpenMRS core 2.8, "Infinispan Clustering"). */}}
{{- define "openmrs.checkReplicas" -}}
{{- $backend := .Values.backend -}}
{{- if gt (int $backend.replicas) 1 -}}
{{- $missing := list -}}
{{- if not (semverCompare ">=2.8.0-0" $backend.coreVersion) -}}
{{- $missing = append $missing (printf "coreVersion 2.8 or newer, not %s" $backend.coreVersion) -}}
{{- end -}}
{{- if ne (dig "OMRS_SEARCH" "" $backend.environment) "elasticsearch" -}}
{{- $missing = append $missing "environment.OMRS_SEARCH: elasticsearch" -}}
{{- end -}}
{{- if not (dig "OMRS_SEARCH_ES_URIS" "" $backend.environment) -}}
{{- $missing = append $missing "environment.OMRS_SEARCH_ES_URIS" -}}
{{- end -}}
{{- if ne (dig "OMRS_EXTRA_STORAGE_TYPE" "" $backend.environment) "s3" -}}
{{- $missing = append $missing "environment.OMRS_EXTRA_STORAGE_TYPE: s3" -}}
{{- end -}}
{{- with $missing -}}
{{- fail (printf "backend.replicas is %d: more than one loses sessions, searches and files without %s; set them or backend.replicas: 1" (int $backend.replicas) (join ", " .)) -}}
{{- end -}}
{{- end -}}
{{- end }}
