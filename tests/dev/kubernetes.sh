# A Kubernetes without nodes, on 127.0.0.1. Sourced by e2e_kubernetes.sh; kubernetes_tools.sh has fetched the programs.
# shellcheck shell=bash
# shellcheck disable=SC2034  # KUBERNETES is read by whoever sources this

D=$(mktemp -d "${TMPDIR:-/tmp}/backstay-kubernetes.XXXXXX")
PIDS=()
export KUBECONFIG=$D/admin.conf PATH=$TOOLS/kubernetes/bin:$PATH
# Helm keeps nothing of the one who runs this.
export HELM_CACHE_HOME=$D/helm HELM_CONFIG_HOME=$D/helm HELM_DATA_HOME=$D/helm
# A proxy is for the outside.
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1

clean_up() {
  local status=$? pid
  for ((pid = ${#PIDS[@]} - 1; pid >= 0; pid--)); do kill "${PIDS[$pid]}" 2>/dev/null || true; done
  for pid in "${PIDS[@]}"; do wait "$pid" 2>/dev/null || true; done
  if [ "$status" -ne 0 ]; then
    for log in "$D"/*.log; do
      [ ! -s "$log" ] || { say "the end of ${log##*/}" && tail -n 8 -- "$log" >&2; }
    done
  fi
  rm -rf -- "$D"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

free_ports() { # count
  python3 -c '
import socket, sys
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(s.getsockname()[1] for s in held))' "$1"
}

wait_for() { # what command…
  local what=$1 until=$((SECONDS + 180))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$until" ] || die "$what: not within 180 s"
    local pid
    for pid in "${PIDS[@]}"; do kill -0 "$pid" 2>/dev/null || die "$what: a server has ended"; done
    sleep 0.3
  done
}

start() { # name command…
  local name=$1
  shift
  "$@" >"$D/$name.log" 2>&1 &
  PIDS+=("$!")
}

certificate() { # name subject [extension]
  openssl req -newkey rsa:2048 -nodes -keyout "$D/$1.key" -out "$D/$1.csr" -subj "$2" 2>/dev/null
  openssl x509 -req -in "$D/$1.csr" -CA "$D/ca.crt" -CAkey "$D/ca.key" -CAcreateserial -days 2 -out "$D/$1.crt" \
    -extfile <(printf '%s\n' "${3:-extendedKeyUsage=clientAuth}") 2>/dev/null
}

configuration() { # name: of a client that has a certificate
  local to=(--kubeconfig "$D/$1.conf")
  kubectl config "${to[@]}" set-cluster here --server "https://127.0.0.1:$API" --certificate-authority "$D/ca.crt"
  kubectl config "${to[@]}" set-credentials "$1" --client-certificate "$D/$1.crt" --client-key "$D/$1.key"
  kubectl config "${to[@]}" set-context here --cluster here --user "$1"
  kubectl config "${to[@]}" use-context here
}

start_kubernetes() {
  local etcd peers controllers
  read -r etcd peers API controllers < <(free_ports 4)
  openssl req -x509 -newkey rsa:2048 -nodes -keyout "$D/ca.key" -out "$D/ca.crt" -days 2 -subj /CN=ca 2>/dev/null
  openssl genrsa -out "$D/accounts.key" 2048 2>/dev/null
  certificate server /CN=kube-apiserver $'extendedKeyUsage=serverAuth\nsubjectAltName=IP:127.0.0.1'
  certificate admin /O=system:masters/CN=admin
  certificate controllers /CN=system:kube-controller-manager
  configuration admin >/dev/null
  configuration controllers >/dev/null

  start etcd etcd --data-dir "$D/etcd" --listen-client-urls "http://127.0.0.1:$etcd" \
    --advertise-client-urls "http://127.0.0.1:$etcd" --listen-peer-urls "http://127.0.0.1:$peers" \
    --initial-advertise-peer-urls "http://127.0.0.1:$peers" --initial-cluster "default=http://127.0.0.1:$peers"
  # Privileged pods are allowed, so that only Pod Security can be what refuses them. Nothing is to be announced
  # in the cluster: a loopback address cannot be.
  start kube-apiserver kube-apiserver --etcd-servers "http://127.0.0.1:$etcd" \
    --bind-address 127.0.0.1 --secure-port "$API" --endpoint-reconciler-type none --cert-dir "$D" \
    --tls-cert-file "$D/server.crt" --tls-private-key-file "$D/server.key" --client-ca-file "$D/ca.crt" \
    --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$D/accounts.key" \
    --service-account-signing-key-file "$D/accounts.key" --service-cluster-ip-range 10.96.0.0/24 \
    --authorization-mode RBAC --allow-privileged
  wait_for 'the API server' kubectl get --raw /readyz
  start kube-controller-manager kube-controller-manager --kubeconfig "$D/controllers.conf" --leader-elect=false \
    --bind-address 127.0.0.1 --secure-port "$controllers" --cert-dir "$D" --root-ca-file "$D/ca.crt" \
    --service-account-private-key-file "$D/accounts.key" \
    --controllers "job-controller,cronjob-controller,deployment-controller,replicaset-controller,serviceaccount-controller,namespace-controller,garbage-collector-controller,disruption-controller"
  KUBERNETES=$(kubectl version -o json | python3 -c 'import json, sys; print(json.load(sys.stdin)["serverVersion"]["gitVersion"])')
}
