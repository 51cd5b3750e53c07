#!/usr/bin/env bash
# usage: manifests.sh check|render
#
# jobs/ is what charts/backstay renders with the values in charts/backstay/ci/jobs.yaml, so that
# the two never say different things. `render` writes it; `check` compares and validates.
set -euo pipefail
: "${PROJECT:?run ./dev lint}" "${TOOLS:?run ./dev lint}"
# shellcheck source=tests/dev/lib.sh
source "$PROJECT/tests/dev/lib.sh"

CHART=$PROJECT/charts/backstay
# Built from source, helm takes a very old Kubernetes for granted.
KUBE=(--kube-version 1.31.0)
OVERLAYS=(eks gke aks static local)

# What is rendered: the file in jobs/, the template, and the kind when only one of its objects is meant.
rendered_files() {
  local job
  for job in archive backup drill exporter network-policies report verify; do
    echo "base/$job.yaml $job"
  done
  echo restore/restore.yaml restore
  echo prune/prune.yaml prune
  echo backup-once/backup-once.yaml backup Job
  echo components/archive-sidecar/patch.yaml patches/archive
  echo components/serve-sidecar/patch.yaml patches/serve
  echo components/restore-init/patch.yaml patches/restore
}

# Of the documents on standard input those of a kind, or all but those.
only_kind() { # is|not kind
  python3 -c '
import re, sys
docs = re.split(r"(?m)^---\n", sys.stdin.read())
has = lambda doc: re.search(rf"(?m)^kind: {sys.argv[2]}$", doc)
print("---\n".join(d for d in docs if d.strip() and bool(has(d)) == (sys.argv[1] == "is")), end="")' "$@"
}

render_to() { # folder
  local file template kind
  while read -r file template kind; do
    mkdir -p -- "$1/$(dirname -- "$file")"
    {
      echo "# Rendered from charts/backstay by \`./dev render\`; change it there."
      helm template "${KUBE[@]}" backstay "$CHART" --namespace backstay -f "$CHART/ci/jobs.yaml" \
        --set "patches.enabled=true" --show-only "templates/$template.yaml" | sed '/^# Source: /d' |
        case $template:$kind in
          backup:Job) only_kind is Job ;;
          backup:*) only_kind not Job ;;
          *) cat ;;
        esac
    } >"$1/$file"
  done < <(rendered_files)
}

refused() { # what options…
  local what=$1
  shift
  ! helm template "${KUBE[@]}" backstay "$CHART" "$@" >/dev/null 2>&1 || die "the chart took $what"
}

# What the chart refuses, and what it makes of what it takes.
values() {
  local lint
  helm lint "${KUBE[@]}" --quiet --strict "$CHART"
  for lint in "$CHART"/ci/*.yaml; do
    helm lint "${KUBE[@]}" --quiet --strict "$CHART" -f "$lint"
  done
  refused 'a value that does not exist' --set bakcup.schedule=x
  refused 'a value that does not exist, of one cluster' --set clusters.shop.bakcup.schedule=x
  refused 'a secret for a variable' --set keys.env.VAULT_TOKEN=x
  refused 'a prune that keeps nothing' --set prune.enabled=true
  # A lock for no time must be, too; the writers are told of one that is whole, and no one else.
  local lock=(--set repository.lock.mode=compliance) locked
  refused 'a lock for no time' "${lock[@]}"
  lock+=(-f "$CHART/ci/jobs.yaml" --set "repository.lock.for=35d,backup.once=")
  locked=$(helm template "${KUBE[@]}" backstay "$CHART" "${lock[@]}")
  [ "$(grep -c 'BACKSTAY_LOCK$' <<<"$locked")" = 4 ] || die 'backup, archive, drill and prune were to be told of the lock'
}

# Every folder of jobs/ builds, and each component fits a database's StatefulSet.
kustomizations() { # folder
  local overlay component
  for overlay in . base restore prune backup-once; do
    kustomize build "$PROJECT/jobs/$overlay" >"$1/jobs-${overlay/./all}.yaml"
  done
  for overlay in "${OVERLAYS[@]}"; do
    kustomize build "$PROJECT/jobs/overlays/$overlay" >"$1/overlay-$overlay.yaml"
  done
  cp -r -- "$PROJECT/jobs/components" "$1/components"
  for component in archive-sidecar serve-sidecar restore-init; do
    mkdir -p -- "$1/beside-$component"
    cp -- "$PROJECT/tests/dev/statefulset.yaml" "$1/beside-$component/"
    cat >"$1/beside-$component/kustomization.yaml" <<YAML
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [statefulset.yaml]
components: [../components/$component]
YAML
    kustomize build "$1/beside-$component" >"$1/component-$component.yaml"
  done
}

# Objects that Kubernetes itself knows: the rules and monitors are the Prometheus operator's.
known_kinds() {
  only_kind not '(PrometheusRule|PodMonitor|ServiceMonitor)'
}

# A scan by somebody else's rules. It takes variables that are called so for secrets: ours name files.
restricted() { # folder report
  "$TOOLS/venv/bin/policy-guard" scan "$1" -l restricted -f json -o "$2" >/dev/null
  python3 - "$2" <<'PYTHON' || die 'the policy scan'
import json, sys
said = json.load(open(sys.argv[1]))
bad = [v for v in said["violations"] if v["severity"] in ("critical", "high")
       and not (v["rule_id"] == "PG-CTR-007" and v["message"].endswith(("_FILE'", "BACKSTAY_STORE_CREDENTIALS'")))]
for v in bad:
    print(v["rule_id"], v["resource"], v["message"], v["file"], file=sys.stderr)
if said["summary"]["total_resources"] < 100:
    sys.exit(f"only {said['summary']['total_resources']} objects were seen")
sys.exit(0 if said["compliant_level"] == "restricted" and not bad else f"level {said['compliant_level']}")
PYTHON
}

check() {
  local work
  work=$(mktemp -d)
  # shellcheck disable=SC2064  # expanded now: the name is local
  trap "rm -rf -- '$work'" EXIT

  values
  render_to "$work/jobs"
  local file rest
  while read -r file rest; do
    diff -u "$PROJECT/jobs/$file" "$work/jobs/$file" ||
      die "jobs/$file is not what the chart renders: ./dev render"
  done < <(rendered_files)

  mkdir -- "$work/all"
  kustomizations "$work"
  mv -- "$work"/{jobs,overlay,component}-*.yaml "$work/all"
  helm template "${KUBE[@]}" backstay "$CHART" >"$work/all/chart.yaml"
  local given
  for given in "$CHART"/ci/*.yaml; do
    helm template "${KUBE[@]}" backstay "$CHART" -f "$given" | known_kinds >"$work/all/chart-$(basename -- "$given")"
  done
  # From the oldest that the chart takes to the newest whose schema is known. The published schema of the oldest
  # ones asks for a list that their server does not ask for.
  mkdir -- "$work/old"
  for file in "$work"/all/*.yaml; do
    sed -E 's/^( *)- action: FailJob$/&\n\1  onPodConditions: []/' "$file" >"$work/old/$(basename -- "$file")"
  done
  "$TOOLS/venv/bin/kubernetes-validate" -k 1.28 --strict "$work"/old/*.yaml >"$work/said" 2>&1 ||
    die "Kubernetes 1.28: $(grep -v passed "$work/said")"
  local version
  for version in 1.31 1.37; do
    "$TOOLS/venv/bin/kubernetes-validate" -k "$version" --strict "$work"/all/*.yaml >"$work/said" 2>&1 ||
      die "Kubernetes $version: $(grep -v passed "$work/said")"
  done
  restricted "$work/all" "$work/scan.json"
  "$TOOLS/venv/bin/python" "$PROJECT/tests/dev/alerts.py" "$PROJECT" "$work"
}

case ${1-} in
  check) check ;;
  render) render_to "$PROJECT/jobs" ;;
  *) die 'usage: manifests.sh check|render' ;;
esac
