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
JOBS=(archive backup drill exporter prune verify restore)
# Built from source, helm takes a very old Kubernetes for granted.
KUBE=(--kube-version 1.31.0)

render_to() { # folder
  local job
  for job in "${JOBS[@]}"; do
    {
      echo "# Rendered from charts/backstay by \`./dev render\`; change it there."
      helm template "${KUBE[@]}" backstay "$CHART" --namespace backstay -f "$CHART/ci/jobs.yaml" \
        --show-only "templates/$job.yaml" | sed '/^# Source: /d'
    } >"$1/$job.yaml"
  done
}

check() {
  local work
  work=$(mktemp -d)
  # shellcheck disable=SC2064  # expanded now: the name is local
  trap "rm -rf -- '$work'" EXIT

  helm lint "${KUBE[@]}" --quiet --strict "$CHART"
  helm lint "${KUBE[@]}" --quiet --strict "$CHART" -f "$CHART/ci/jobs.yaml"
  helm lint "${KUBE[@]}" --quiet --strict "$CHART" -f "$CHART/ci/key-services.yaml"
  helm lint "${KUBE[@]}" --quiet --strict "$CHART" -f "$CHART/ci/identities.yaml"
  # A name that the schema does not know must be refused.
  ! helm template "${KUBE[@]}" backstay "$CHART" --set bakcup.schedule=x >/dev/null 2>&1 ||
    die 'the chart took a value that does not exist'
  ! helm template "${KUBE[@]}" backstay "$CHART" --set keys.env.VAULT_TOKEN=x >/dev/null 2>&1 ||
    die 'the chart took a secret for a variable'
  # A lock for no time must be, too; the writers are told of one that is whole, and no one else.
  local lock=(--set repository.lock.mode=compliance) locked
  ! helm template "${KUBE[@]}" backstay "$CHART" "${lock[@]}" >/dev/null 2>&1 ||
    die 'the chart took a lock for no time'
  lock+=(--set repository.lock.for=35d -f "$CHART/ci/jobs.yaml")
  locked=$(helm template "${KUBE[@]}" backstay "$CHART" "${lock[@]}")
  [ "$(grep -c 'BACKSTAY_LOCK$' <<<"$locked")" = 4 ] || die 'backup, archive, drill and prune were to be told of the lock'
  # Whoever is to remove something has to be told what to keep.
  ! helm template "${KUBE[@]}" backstay "$CHART" --set prune.enabled=true >/dev/null 2>&1 ||
    die 'the chart took a prune that keeps nothing'

  render_to "$work"
  local job
  for job in "${JOBS[@]}"; do
    diff -u "$PROJECT/jobs/$job.yaml" "$work/$job.yaml" ||
      die "jobs/$job.yaml is not what the chart renders: ./dev render"
  done

  helm template "${KUBE[@]}" backstay "$CHART" >"$work/chart.yaml"
  helm template "${KUBE[@]}" backstay "$CHART" -f "$CHART/ci/key-services.yaml" >"$work/key-services.yaml"
  helm template "${KUBE[@]}" backstay "$CHART" -f "$CHART/ci/identities.yaml" >"$work/identities.yaml"
  local version
  for version in 1.31 1.35; do
    "$TOOLS/venv/bin/kubernetes-validate" -k "$version" --strict "$work"/*.yaml >"$work/said" 2>&1 ||
      die "Kubernetes $version: $(grep -v passed "$work/said")"
  done
}

case ${1-} in
  check) check ;;
  render) render_to "$PROJECT/jobs" ;;
  *) die 'usage: manifests.sh check|render' ;;
esac
