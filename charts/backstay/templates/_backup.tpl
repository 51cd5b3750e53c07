{{- /* The pod of a backup: the same in the CronJob and in a Job for once. */ -}}
{{- define "backstay.backup.pod" -}}
metadata:
  labels:
    {{- include "backstay.podLabels" . | nindent 4 }}
spec:
  {{- include "backstay.pod" . | nindent 2 }}
  {{- with .root.Values.backup.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: backstay
      {{- include "backstay.container" . | nindent 6 }}
      args: [backup]
      env:
        {{- include "backstay.env" . | nindent 8 }}
        # The id ends in the Job's UID: a pod that is tried again continues the same
        # backup, and another Job never takes it for its own.
        - name: JOB_UID
          valueFrom:
            fieldRef:
              fieldPath: metadata.labels['batch.kubernetes.io/controller-uid']
        - name: BACKSTAY_ID
          value: {{ .root.Values.repository.cluster }}-$(JOB_UID)
        - name: BACKSTAY_SOURCE
          value: {{ .root.Values.backup.source | quote }}
        - name: BACKSTAY_ENGINE
          value: {{ .root.Values.backup.engine }}
        {{- if (eq .root.Values.backup.source "local") }}
        - name: BACKSTAY_MYSQL_HOST
          value: {{ required "backup.local.host: the server to back up" .root.Values.backup.local.host }}
        - name: BACKSTAY_MYSQL_PORT
          value: {{ .root.Values.backup.local.port | quote }}
        - name: BACKSTAY_MYSQL_USER
          value: {{ .root.Values.backup.local.user | quote }}
        - name: BACKSTAY_MYSQL_PASSWORD_FILE
          value: /run/mysql/password
        - name: BACKSTAY_MYSQL_TLS_CA
          value: /run/mysql/ca.crt
        - name: BACKSTAY_DATADIR
          value: /data
        {{- else }}
        - name: BACKSTAY_SOURCE_CA
          value: /run/source/ca.crt
        - name: BACKSTAY_SOURCE_CERT
          value: /run/source/tls.crt
        - name: BACKSTAY_SOURCE_KEY
          value: /run/source/tls.key
        {{- end }}
      volumeMounts:
        {{- include "backstay.mounts" . | nindent 8 }}
        {{- if (eq .root.Values.backup.source "local") }}
        - name: mysql
          mountPath: /run/mysql
          readOnly: true
        - name: data
          mountPath: /data
          readOnly: true
          {{- with .root.Values.backup.local.subPath }}
          subPath: {{ . }}
          {{- end }}
        {{- else }}
        - name: source
          mountPath: /run/source
          readOnly: true
        {{- end }}
  volumes:
    {{- include "backstay.volumes" . | nindent 4 }}
    {{- if (eq .root.Values.backup.source "local") }}
    - name: mysql
      secret:
        secretName: {{ .root.Values.backup.local.passwordSecret }}
        defaultMode: 256 # 0400
    - name: data
      persistentVolumeClaim:
        claimName: {{ required "backup.local.claim: the claim that holds the data folder" .root.Values.backup.local.claim }}
    {{- else }}
    - name: source
      secret:
        secretName: {{ .root.Values.backup.sourceTlsSecret }}
        defaultMode: 256 # 0400
    {{- end }}
{{- end }}
