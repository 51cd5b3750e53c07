#!/usr/bin/env bash
# usage: kubernetes_tools.sh
#
# Fetches what ./dev e2e-kubernetes needs into $TOOLS/kubernetes: etcd out of Debian's package, and the API
# server, the controllers and kubectl, built from the published Go modules (the first of them alone took half an hour on
# two busy cores); and the definitions of Prometheus's objects. What is there is left alone.
set -euo pipefail
: "${PROJECT:?run ./dev e2e-kubernetes}" "${TOOLS:?run ./dev e2e-kubernetes}"
# shellcheck source=tests/dev/lib.sh
source "$PROJECT/tests/dev/lib.sh"

KUBERNETES=1.34.2
PROMETHEUS_OPERATOR=v0.85.0
PROGRAMS=(kube-apiserver kube-controller-manager kubectl)

HERE=$TOOLS/kubernetes
mkdir -p -- "$HERE/bin" "$HERE/crds" "$TOOLS/stamps"
exec 9>"$HERE/.lock"
flock 9
WORK=$(mktemp -d)
trap 'rm -rf -- "$WORK"' EXIT

stamp() { printf '%s/stamps/%s' "$TOOLS" "$1"; }

# Out of the package alone: installed, it would start a service.
etcd() {
  [ ! -e "$(stamp etcd-1)" ] || return 0
  say 'unpacking etcd'
  fetch() { (cd -- "$WORK" && apt-get -qq -o APT::Sandbox::User= download etcd-server); }
  fetch || { twice as_root apt-get -qq -o DPkg::Lock::Timeout=300 update && twice fetch; }
  dpkg-deb --fsys-tarfile "$WORK"/etcd-server_*.deb | tar -x -C "$WORK" ./usr/bin/etcd
  mv -- "$WORK/usr/bin/etcd" "$HERE/bin/etcd"
  : >"$(stamp etcd-1)"
}

# Kubernetes replaces its own libraries by folders of its repository, which a module cannot do for others: the
# same versions of the published ones take their place.
module() {
  local published
  published=$(cd -- "$WORK" && twice go mod download -json "k8s.io/kubernetes@v$KUBERNETES" |
    sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
  {
    printf 'module backstay.test/kubernetes\n\ngo %s\n\nrequire k8s.io/kubernetes v%s\n\n' \
      "$(sed -n 's/^go //p' "$published")" "$KUBERNETES"
    sed -n "s|^\t\(k8s.io/[a-z-]*\) => ./staging.*|replace \1 => \1 v0.${KUBERNETES#1.}|p" "$published"
  } >"$WORK/go.mod"
  {
    printf 'package kubernetes\n\n'
    printf 'import _ "k8s.io/kubernetes/cmd/%s"\n' "${PROGRAMS[@]}"
  } >"$WORK/programs.go"
  (cd -- "$WORK" && twice go mod tidy)
}

programs() {
  local program version flags missing=()
  for program in "${PROGRAMS[@]}"; do
    [ -e "$(stamp "$program-$KUBERNETES")" ] || missing+=("$program")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v go >/dev/null || die 'a Go toolchain is needed to build an API server'
  module
  # Without these the programs take themselves for v0.0.0, and Helm the cluster for a very old one.
  version=k8s.io/component-base/version
  flags="-s -w -X $version.gitVersion=v$KUBERNETES -X $version.gitMajor=1 -X $version.gitMinor=$(cut -d. -f2 <<<"$KUBERNETES")"
  for program in "${missing[@]}"; do
    say "building $program $KUBERNETES"
    (cd -- "$WORK" && CGO_ENABLED=0 nice -n 15 go build -p "${BACKSTAY_GO_JOBS:-1}" -buildvcs=false -trimpath -ldflags "$flags" \
      -o "$HERE/bin/$program" "k8s.io/kubernetes/cmd/$program")
    : >"$(stamp "$program-$KUBERNETES")"
  done
}

# ServiceMonitor, PodMonitor and PrometheusRule, so that what the chart says of them is checked, too.
crds() {
  [ ! -e "$(stamp "prometheus-operator-$PROMETHEUS_OPERATOR")" ] || return 0
  local folder name
  folder=$(cd -- "$WORK" && twice go mod download -json \
    "github.com/prometheus-operator/prometheus-operator@$PROMETHEUS_OPERATOR" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
  for name in servicemonitors podmonitors prometheusrules; do
    install -m 0644 "$folder/example/prometheus-operator-crd/monitoring.coreos.com_$name.yaml" "$HERE/crds/"
  done
  : >"$(stamp "prometheus-operator-$PROMETHEUS_OPERATOR")"
}

etcd
crds
programs
