{{- /* The parts that all jobs have. Each takes a dict: root (a cluster's context, with its values and the name that
its objects begin with) and job (its name); in a patch of somebody else's pod also prefix (of its volumes' names). */ -}}

{{- /* The clusters of this release as JSON: each with the values that hold for it. Without `clusters` it is one. */ -}}
{{- define "backstay.clusters" -}}
{{- $all := list }}
{{- $values := .Values | toJson | fromJson }}
{{- range $cluster, $own := $values.clusters }}
{{- $merged := mergeOverwrite (deepCopy (omit $values "clusters")) (dict "repository" (dict "cluster" $cluster)) (deepCopy ($own | default dict)) }}
{{- $all = append $all (dict "name" (printf "%s-%s" $.Release.Name $cluster) "Values" $merged) }}
{{- else }}
{{- $all = append $all (dict "name" .Release.Name "Values" $values) }}
{{- end }}
{{- toJson $all }}
{{- end }}

{{- define "backstay.labels" -}}
app.kubernetes.io/name: backstay
app.kubernetes.io/instance: {{ .root.name }}
app.kubernetes.io/component: {{ .job }}
{{- end }}

{{- define "backstay.podLabels" -}}
{{ include "backstay.labels" . }}
{{- with (index .root.Values .job).podLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "backstay.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .root.name }}-{{ .job }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "backstay.labels" . | nindent 4 }}
  {{- with (index .root.Values .job).serviceAccountAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}

{{- define "backstay.jobSpec" -}}
# A failed pod is tried again unless its exit code says that this cannot help: docs/exit-codes.md.
backoffLimit: 4
activeDeadlineSeconds: {{ (index .root.Values .job).deadlineSeconds }}
ttlSecondsAfterFinished: 172800
podFailurePolicy:
  rules:
    - action: Ignore
      onPodConditions:
        - type: DisruptionTarget
          status: "True"
    - action: FailJob
      onExitCodes:
        containerName: backstay
        operator: In
        values: [2, 3, 6, 7, 8]
{{- end }}

{{- define "backstay.pod" -}}
serviceAccountName: {{ .root.name }}-{{ .job }}
automountServiceAccountToken: false
enableServiceLinks: false
restartPolicy: {{ ternary "Always" "Never" (has .job (list "archive" "exporter")) }}
terminationGracePeriodSeconds: 120
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .root.Values.user }}
  runAsGroup: {{ .root.Values.group }}
  fsGroup: {{ .root.Values.group }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "backstay.container" -}}
image: "{{ .root.Values.image.repository }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}"
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  {{- if .prefix }}
  # The pod is not ours, so it is said here.
  runAsNonRoot: true
  runAsUser: {{ .root.Values.user }}
  runAsGroup: {{ .root.Values.group }}
  seccompProfile:
    type: RuntimeDefault
  {{- end }}
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
resources:
  {{- toYaml (index .root.Values .job).resources | nindent 2 }}
{{- end }}

{{- define "backstay.env" -}}
- name: BACKSTAY_REPO
  value: {{ .root.Values.repository.url | quote }}
{{- if ne .job "exporter" }}
- name: BACKSTAY_CLUSTER
  value: {{ .root.Values.repository.cluster | quote }}
{{- end }}
{{- with .root.Values.repository.endpoint }}
- name: BACKSTAY_STORE_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- with .root.Values.repository.region }}
- name: BACKSTAY_STORE_REGION
  value: {{ . | quote }}
{{- end }}
{{- if .root.Values.repository.credentialsSecret }}
- name: BACKSTAY_STORE_CREDENTIALS
  value: /run/store/credentials
{{- end }}
{{- with .root.Values.repository.account }}
- name: AZURE_STORAGE_ACCOUNT_NAME
  value: {{ . | quote }}
{{- end }}
{{- with (index .root.Values .job).roleArn }}
- name: AWS_ROLE_ARN
  value: {{ . | quote }}
- name: AWS_WEB_IDENTITY_TOKEN_FILE
  value: /run/identity/token
{{- with $.root.Values.webIdentity.stsEndpoint }}
- name: AWS_ENDPOINT_URL_STS
  value: {{ . | quote }}
{{- end }}
{{- end }}
# Who wrote it: a run's record says so.
- name: BACKSTAY_POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: BACKSTAY_POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
{{- if has .job (list "archive" "backup" "drill" "prune") }}
{{- with .root.Values.repository.lock }}
{{- if .mode }}
- name: BACKSTAY_LOCK
  value: {{ .mode }}
- name: BACKSTAY_LOCK_FOR
  value: {{ required "repository.lock.for: for how long what is restored is locked" .for | quote }}
{{- with .auditFor }}
- name: BACKSTAY_LOCK_AUDIT_FOR
  value: {{ . | quote }}
{{- end }}
{{- if .legalHold }}
- name: BACKSTAY_LOCK_HOLD
  value: "true"
{{- end }}
{{- end }}
{{- end }}
{{- with .root.Values.repository.sse }}
- name: BACKSTAY_STORE_SSE
  value: {{ . | quote }}
{{- end }}
{{- with .root.Values.repository.storageClass }}
- name: BACKSTAY_STORE_CLASS
  value: {{ . | quote }}
{{- end }}
{{- end }}
{{- $writes := has .job (list "archive" "backup") }}
{{- $keys := .root.Values.keys }}
{{- if has .job (list "exporter" "report") }}
# Whom to believe, and no key.
- name: BACKSTAY_TRUST
  value: /run/keys/kek.trust
{{- else if eq .job "prune" }}
# It opens nothing, so it has no KEK.
- name: BACKSTAY_TRUST
  value: /run/keys/kek.trust
- name: BACKSTAY_SIGNER
  value: {{ $keys.pruneSigner | default "file:/run/keys/kek.signer" }}
{{- else }}
- name: BACKSTAY_KEK
  value: {{ $keys.kek | default (printf "file:/run/keys/%s" (ternary "kek.pub" "kek" $writes)) }}
{{- if or $keys.kek $keys.signer }}
- name: BACKSTAY_TRUST
  value: /run/keys/kek.trust
{{- if or $writes (eq .job "drill") }}
- name: BACKSTAY_SIGNER
  value: {{ $keys.signer | default "file:/run/keys/kek.signer" }}
{{- end }}
{{- end }}
{{- end }}
{{- if and $writes $keys.alsoKek }}
- name: BACKSTAY_ALSO_KEK
  value: {{ join "," $keys.alsoKek | quote }}
{{- end }}
{{- if not (has .job (list "exporter" "report")) }}
{{- range $name, $value := $keys.env }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
- name: BACKSTAY_FORMAT
  value: json
{{- end }}

{{- define "backstay.mounts" -}}
{{ include "backstay.keyMounts" . }}
- name: {{ .prefix }}scratch
  mountPath: /tmp
{{- end }}

{{- define "backstay.keyMounts" -}}
- name: {{ .prefix }}keys
  mountPath: /run/keys
  readOnly: true
{{- $opens := not (has .job (list "exporter" "report")) }}
{{- if and $opens .root.Values.keys.tokenAudience }}
- name: {{ .prefix }}token
  mountPath: /run/token
  readOnly: true
{{- end }}
{{- if .root.Values.repository.credentialsSecret }}
- name: {{ .prefix }}store
  mountPath: /run/store
  readOnly: true
{{- end }}
{{- if (index .root.Values .job).roleArn }}
- name: {{ .prefix }}identity
  mountPath: /run/identity
  readOnly: true
{{- end }}
{{- end }}

{{- define "backstay.keys" -}}
- name: {{ .prefix }}keys
  secret:
    {{- if eq .job "prune" }}
    secretName: {{ .root.Values.keys.pruneSecret }}
    {{- else if eq .job "drill" }}
    secretName: {{ .root.Values.keys.drillSecret }}
    {{- else }}
    secretName: {{ ternary .root.Values.keys.writerSecret .root.Values.keys.readerSecret (has .job (list "archive" "backup" "exporter" "report")) }}
    {{- end }}
    defaultMode: {{ ternary "288 # 0440" "256 # 0400" (not (empty .prefix)) }}
    {{- if has .job (list "exporter" "report") }}
    items:
      - key: kek.trust
        path: kek.trust
    {{- end }}
{{- if and .root.Values.keys.tokenAudience (not (has .job (list "exporter" "report"))) }}
- name: {{ .prefix }}token
  projected:
    defaultMode: 256 # 0400
    sources:
      - serviceAccountToken:
          path: token
          audience: {{ .root.Values.keys.tokenAudience | quote }}
          expirationSeconds: 3600
{{- end }}
{{- if .root.Values.repository.credentialsSecret }}
- name: {{ .prefix }}store
  secret:
    secretName: {{ .root.Values.repository.credentialsSecret }}
    defaultMode: 256 # 0400
{{- end }}
{{- if (index .root.Values .job).roleArn }}
# The kubelet renews it; AWS's STS, or one that works alike, exchanges it for the role.
- name: {{ .prefix }}identity
  projected:
    defaultMode: 288 # 0440
    sources:
      - serviceAccountToken:
          path: token
          audience: {{ .root.Values.webIdentity.audience | quote }}
          expirationSeconds: {{ .root.Values.webIdentity.expirationSeconds }}
{{- end }}
{{- end }}

{{- define "backstay.volumes" -}}
{{ include "backstay.keys" . }}
# In memory: what lies here may be secret. It counts towards the memory limit.
- name: {{ .prefix }}scratch
  emptyDir:
    medium: Memory
    sizeLimit: 64Mi
{{- end }}
