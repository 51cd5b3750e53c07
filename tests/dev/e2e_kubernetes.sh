#!/usr/bin/env bash
# usage: e2e_kubernetes.sh
#
# jobs/ and the chart on a real API server: etcd, kube-apiserver and kube-controller-manager on 127.0.0.1, in a
# folder that is gone afterwards, with namespaces that enforce the restricted Pod Security Standard. Everything
# is applied server-side and has to be admitted without a warning; the controllers make real pods of it. There is no
# kubelet, so no container runs: how a pod ended is written into its status by hand where the Job controller
# is to react to it.
set -euo pipefail
: "${PROJECT:?run ./dev e2e-kubernetes}" "${TOOLS:?run ./dev e2e-kubernetes}"
# shellcheck source=tests/dev/lib.sh
source "$PROJECT/tests/dev/lib.sh"
# shellcheck source=tests/dev/kubernetes.sh
source "$PROJECT/tests/dev/kubernetes.sh"

CHART=$PROJECT/charts/backstay

# Runs a command that talks to the API server, and fails when the server warned of anything.
quietly() { # what command…
  local what=$1
  shift
  "$@" >"$D/out" 2>"$D/err" || die "$what: refused: $(cat -- "$D/out" "$D/err")"
  ! warned || die "$what: admitted with a warning: $(cat -- "$D/err")"
}
# kubectl prints `Warning:`, Helm a line of client-go's log.
warned() { grep -qiE 'warning|violate' "$D/err"; }

restricted() { # namespace…
  local name
  for name in "$@"; do
    kubectl create namespace "$name" >/dev/null
    kubectl label namespace "$name" pod-security.kubernetes.io/{enforce,audit,warn}=restricted \
      pod-security.kubernetes.io/{enforce,audit,warn}-version=latest >/dev/null
    wait_for "the service account of $name" kubectl -n "$name" get serviceaccount default
  done
}

# What would prove nothing if it passed anyway.
the_checks_can_fail() {
  restricted negative
  local bad='{"apiVersion":"v1","kind":"Pod","metadata":{"name":"bad","namespace":"negative"},"spec":{"containers":
    [{"name":"bad","image":"bad","securityContext":{"privileged":true}}]}}'
  ! kubectl apply --server-side -f - <<<"$bad" >/dev/null 2>"$D/err" || die 'a privileged pod was admitted'
  grep -q 'violates PodSecurity "restricted:latest"' "$D/err" || die "refused for another reason: $(cat -- "$D/err")"
  # Of what only makes pods the server warns. A chart with one promise less has to be noticed.
  cp -r -- "$CHART" "$D/broken"
  sed -i 's/allowPrivilegeEscalation: false/allowPrivilegeEscalation: true/' "$D"/broken/templates/*.tpl
  helm install broken "$D/broken" --namespace negative >"$D/out" 2>"$D/err" || die "$(cat -- "$D/err")"
  warned || die 'a chart with allowPrivilegeEscalation: true was admitted without a warning'
  # And a name that the server does not know is an error, not a shrug.
  ! kubectl -n negative get cronjob broken-backup -o json | sed 's/"concurrencyPolicy"/"concurencyPolicy"/' |
    kubectl apply --server-side --force-conflicts -f - >/dev/null 2>&1 || die 'a misspelt field was admitted'
  kubectl -n negative create job --from=cronjob/broken-backup bad >/dev/null 2>&1
  wait_for 'the refusal of its pod' refused_pod negative
  kubectl delete namespace negative --wait=false >/dev/null
}
refused_pod() { # namespace
  kubectl -n "$1" get events --field-selector reason=FailedCreate -o name | grep -q .
}

# Pods as the controllers would make them, judged by themselves: the templates of everything in the namespace.
pods_of() { # namespace
  kubectl -n "$1" get cronjobs,jobs,deployments,statefulsets -o json | python3 -c '
import json, sys
found = json.load(sys.stdin)["items"]
for item in found:
    spec = item["spec"]
    template = spec.get("jobTemplate", {}).get("spec", spec)["template"]
    for claim in spec.get("volumeClaimTemplates", []):
        name = claim["metadata"]["name"]
        template["spec"]["volumes"].append({"name": name, "persistentVolumeClaim": {"claimName": name + "-mysql-0"}})
    template["metadata"] = {"name": item["metadata"]["name"], "namespace": sys.argv[1], "labels": template["metadata"]["labels"]}
    print(json.dumps({"apiVersion": "v1", "kind": "Pod", **template}))
' "$1"
}
pods_by_hand() { # namespace what
  local pod count=0
  while read -r pod; do
    quietly "$2: a pod of $(grep -o '"name": "[^"]*"' <<<"$pod" | head -1)" \
      kubectl create --dry-run=server -f - <<<"$pod"
    count=$((count + 1))
  done < <(pods_of "$1")
  [ "$count" -gt 0 ] || die "$2: nothing that makes pods"
  say "$2: admitted, no warning; $count kinds of pods, too"
}

manifests() {
  local folder name
  while read -r folder; do
    # Components are patches: they are no whole by themselves.
    ! grep -q 'kind: Component' "$folder/kustomization.yaml" || continue
    name=${folder#"$PROJECT/"}
    # What is applied by hand, such as backup-once, takes the base's service accounts.
    [ ! -d "$PROJECT/jobs/base" ] || quietly 'jobs/base' kubectl apply --server-side -k "$PROJECT/jobs/base"
    quietly "$name" kubectl apply --server-side -k "$folder"
    pods_by_hand backstay "$name"
    # The next folder may have a Job of the same name, and a Job's template cannot be changed.
    quietly "$name, deleted" kubectl delete --wait=true --timeout=60s -k "$folder"
    [ ! -d "$PROJECT/jobs/base" ] ||
      quietly 'jobs/base, deleted' kubectl delete --ignore-not-found --wait=true --timeout=60s -k "$PROJECT/jobs/base"
  done < <(find "$PROJECT/jobs" -name kustomization.yaml -printf '%h\n' | sort)
}

# Each component beside the database that it is for; its pod is restricted, too.
components() {
  local component name
  cat >"$D/mysql.yaml" <<'YAML'
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: mysql}
spec:
  serviceName: mysql
  selector: {matchLabels: {app: mysql}}
  template:
    metadata: {labels: {app: mysql}}
    spec:
      securityContext: {runAsNonRoot: true, runAsUser: 999, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: mysql
          image: mysql
          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
          volumeMounts: [{name: run, mountPath: /run/mysqld}, {name: data, mountPath: /var/lib/mysql}]
      volumes: [{name: run, emptyDir: {}}]
  volumeClaimTemplates:
    - metadata: {name: data}
      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
YAML
  for component in "$PROJECT"/jobs/components/*/; do
    [ -e "$component/kustomization.yaml" ] || continue
    name=$(basename -- "$component")
    printf 'namespace: backstay\nresources: [mysql.yaml]\ncomponents: ["%s"]\n' \
      "$(realpath --relative-to="$D" -- "$component")" >"$D/kustomization.yaml"
    quietly "component $name" kubectl apply --server-side -k "$D"
    kubectl -n backstay get statefulset mysql -o yaml | grep -q 'image: "\?backstay' || die "component $name changes nothing"
    pods_by_hand backstay "component $name"
    quietly "component $name, deleted" kubectl delete --wait=true --timeout=60s -k "$D"
  done
}

chart() {
  local values name
  quietly 'chart, default values' helm install backstay "$CHART" --namespace chart \
    --set repository.url=s3://backups/mysql
  pods_by_hand chart 'chart, default values'
  quietly 'chart, everything on' helm upgrade backstay "$CHART" --namespace chart -f "$CHART/ci/jobs.yaml" \
    "${EVERYTHING[@]}"
  pods_by_hand chart 'chart, everything on'
  for values in "$CHART"/ci/*.yaml; do
    name=$(basename -- "$values" .yaml)
    quietly "chart, ci/$name" helm install "$name" "$CHART" --namespace values -f "$values"
    pods_by_hand values "chart, ci/$name"
    helm uninstall "$name" --namespace values >/dev/null
  done
  if [ -d "$CHART/templates/tests" ]; then
    helm get hooks backstay --namespace chart >"$D/hooks.yaml"
    quietly 'chart, helm test' kubectl -n chart create --dry-run=server -f "$D/hooks.yaml"
  fi
  # Once more, by kubectl: what it owns then must not be in conflict with itself.
  helm template again "$CHART" --kube-version "$KUBERNETES" --namespace chart -f "$CHART/ci/jobs.yaml" \
    "${EVERYTHING[@]}" --no-hooks >"$D/rendered.yaml"
  quietly 'chart, by kubectl' kubectl apply --server-side -f "$D/rendered.yaml"
  quietly 'chart, by kubectl, again' kubectl apply --server-side -f "$D/rendered.yaml"
}

job_of() { kubectl -n chart get "job/$1" -o "jsonpath=$2"; }
pods_of_job() { kubectl -n chart get pods -l "batch.kubernetes.io/job-name=$1" -o "jsonpath=$2"; }
has_pods() { # job count
  [ "$(pods_of_job "$1" '{range .items[*]}x{end}' | wc -c)" -ge "$2" ]
}
ends() { # pod exit-code: what a kubelet would write
  kubectl -n chart patch pod "$1" --subresource=status --type=merge -p '{"status":{"phase":"Failed","containerStatuses":[
    {"name":"backstay","image":"x","imageID":"x","ready":false,"restartCount":0,
     "state":{"terminated":{"exitCode":'"$2"'}}}]}}' >/dev/null
}
failed_for_good() { [[ $(job_of "$1" '{.status.conditions[?(@.type=="Failed")].reason}') = PodFailurePolicy ]]; }

# The controllers make real pods of what was admitted.
controllers() {
  local code job uid pod id
  for code in 2 3 4 5 6 7 8; do
    kubectl -n chart create job --from=cronjob/backstay-backup "now-$code" >/dev/null 2>"$D/err"
    ! warned || die "create job: $(cat -- "$D/err")"
  done
  for code in 2 3 4 5 6 7 8; do
    job=now-$code
    wait_for "the pod of $job" has_pods "$job" 1
    uid=$(job_of "$job" '{.metadata.uid}')
    pod=$(pods_of_job "$job" '{.items[0].metadata.name}')
    # The kubelet puts the label's value in the place of the variable.
    # shellcheck disable=SC2016  # Python's, not the shell's
    id=$(kubectl -n chart get pod "$pod" -o json | python3 -c '
import json, re, sys
pod = json.load(sys.stdin)
env = {e["name"]: e for e in pod["spec"]["containers"][0]["env"]}
label = re.fullmatch(r"metadata\.labels\[.(.*).\]", env["JOB_UID"]["valueFrom"]["fieldRef"]["fieldPath"])[1]
print(env["BACKSTAY_ID"]["value"].replace("$(JOB_UID)", pod["metadata"]["labels"][label]))')
    [[ -n $uid && $id = *-"$uid" ]] || die "$job: the backup's id is $id, the Job's UID $uid"
    ends "$pod" "$code"
  done
  for code in 2 3 6 7 8; do
    wait_for "exit $code ends the Job" failed_for_good "now-$code"
    [ "$(pods_of_job "now-$code" '{range .items[*]}x{end}')" = x ] || die "exit $code was tried again"
  done
  for code in 4 5; do
    wait_for "exit $code is tried again" has_pods "now-$code" 2
    [ -z "$(job_of "now-$code" '{.status.conditions[?(@.type=="Failed")].reason}')" ] || die "exit $code ended the Job"
  done
  say "a Job from the CronJob: its pod's BACKSTAY_ID ends in the Job's UID; 2, 3, 6, 7, 8 end it, 4 and 5 do not"
  local deployment
  for deployment in $(kubectl -n chart get deployments -o name); do
    wait_for "the pods of $deployment" pods_as_wanted "$deployment"
  done
  ! refused_pod chart || die "$(kubectl -n chart get events --field-selector reason=FailedCreate)"
  say 'the Deployments have their pods; none was refused'
}
pods_as_wanted() { # deployment
  [ "$(kubectl -n chart get "$1" -o 'jsonpath={.spec.replicas}')" = "$(kubectl -n chart get "$1" -o 'jsonpath={.status.replicas}')" ]
}

# What ci/jobs.yaml leaves off and this chart has.
EVERYTHING=()
if grep -q '^monitoring:' "$CHART/values.yaml"; then
  EVERYTHING+=(--set "monitoring.monitors.enabled=true,monitoring.rules.enabled=true,monitoring.dashboard.enabled=true")
fi

BEGAN=$SECONDS
start_kubernetes
say "$(kubectl version -o json | sed -n 's/.*"gitVersion": "\(.*\)".*/\1/p' | tail -1) answers after $((SECONDS - BEGAN)) s"
quietly 'the definitions of the Prometheus operator' kubectl apply --server-side -f "$TOOLS/kubernetes/crds"
the_checks_can_fail
# Of the values in ci, one has its database in `shop`.
restricted backstay chart values shop
manifests
components
chart
controllers
say "ok: everything was admitted, in $((SECONDS - BEGAN)) s"
