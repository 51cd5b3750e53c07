#!/usr/bin/env bash
# Fetches what demo, test or bench need. What is there is left alone, so a second run is quick.
set -euo pipefail
: "${PROJECT:?run ./dev setup}" "${TOOLS:?run ./dev setup}"
# shellcheck source=tests/dev/lib.sh
source "$PROJECT/tests/dev/lib.sh"

MINIO=v0.0.0-20260212201848-7aac2a2c5b7c
HELM=v3.19.5
KUSTOMIZE=v5.8.1
CARGO_DENY=0.20.2
CARGO_CYCLONEDX=0.5.9
CARGO_AUDITABLE=0.7.7
AZURITE=3.37.0

MARIADB=(mariadb-server-core mariadb-backup mariadb-client-core)

WANTED=${1:-test}
case $WANTED in
  demo | test | bench | release) ;;
  *) die "setup demo, test, bench or release; not: $WANTED" ;;
esac

# A tool is there when a file of its version is; it is written after the tool.
stamp() { printf '%s/stamps/%s' "$TOOLS" "$1"; }
has() { [ -e "$(stamp "$1")" ]; }
done_with() { : >"$(stamp "$1")"; }

packages() {
  local wanted=("${MARIADB[@]}") missing
  command -v cc >/dev/null || wanted+=(build-essential)
  if [ "$WANTED" = test ] || [ "$WANTED" = bench ]; then
    wanted+=(ca-certificates radosgw ceph-mon ceph-osd ceph-common shellcheck openssl
      podman buildah runc debootstrap binutils)
    command -v python3 >/dev/null && python3 -c 'import ensurepip, venv' 2>/dev/null ||
      wanted+=(python3 python3-venv)
    command -v npm >/dev/null || wanted+=(nodejs npm)
  fi
  [ "$WANTED" != bench ] || wanted+=(age rclone zstd sysbench mariadb-client)
  read_installed_packages
  mapfile -t missing < <(missing_packages "${wanted[@]}")
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing: ${missing[*]}"
  # Nothing here is to run as a service, and no question is to be asked.
  local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends
    -o DPkg::Lock::Timeout=300 "${missing[@]}")
  # The package lists may be missing or too old: then fetch them and try again.
  as_root "${install[@]}" >&2 2>/dev/null && return
  twice as_root apt-get -qq -o DPkg::Lock::Timeout=300 update
  twice as_root "${install[@]}" >&2
}

mysql() {
  has mysql9-1 && return
  say 'unpacking MySQL 9 into a prefix of its own'
  twice "$PROJECT/tests/dev/mysql9.sh" "$TOOLS/mysql9"
  done_with mysql9-1
}

# Debian keeps two plugins that tests load in the package that would start a service.
mariadb_plugins() {
  local version beside
  version=$(dpkg-query -W -f '${Version}' mariadb-server-core)
  has "mariadb-plugins-$version" && return
  say 'unpacking plugins of MariaDB'
  beside=$(mktemp -d)
  fetch() { (cd -- "$beside" && apt-get -qq -o APT::Sandbox::User= download "mariadb-server=$version"); }
  # Debian drops old versions: then the package lists, and the server, are to be renewed.
  fetch || { twice as_root apt-get -qq -o DPkg::Lock::Timeout=300 update && twice fetch; }
  dpkg-deb --fsys-tarfile "$beside"/*.deb | tar -x -C "$beside" \
    ./usr/lib/mysql/plugin/auth_ed25519.so ./usr/lib/mysql/plugin/file_key_management.so
  rm -rf -- "$TOOLS/mariadb-plugins"
  mv -- "$beside/usr/lib/mysql/plugin" "$TOOLS/mariadb-plugins"
  rm -rf -- "$beside"
  done_with "mariadb-plugins-$version"
}

# Debian's package would start a server: of it only the tool that reads rules is taken.
promtool() {
  has promtool-1 && return
  say 'unpacking promtool'
  local beside
  beside=$(mktemp -d)
  fetch() { (cd -- "$beside" && apt-get -qq -o APT::Sandbox::User= download prometheus); }
  fetch || { twice as_root apt-get -qq -o DPkg::Lock::Timeout=300 update && twice fetch; }
  dpkg-deb --fsys-tarfile "$beside"/*.deb | tar -x -C "$beside" ./usr/bin/promtool
  mv -- "$beside/usr/bin/promtool" "$TOOLS/bin/promtool"
  rm -rf -- "$beside"
  done_with promtool-1
}

venv() {
  local name
  name=venv-$(sha256sum "$PROJECT/tests/dev/requirements.txt" | cut -c1-16)
  has "$name" && return
  say 'python packages: the independent decoder, the checks of manifests, a stand-in for AWS KMS'
  rm -rf -- "$TOOLS/venv"
  python3 -m venv "$TOOLS/venv"
  twice "$TOOLS/venv/bin/pip" install -q --disable-pip-version-check \
    -r "$PROJECT/tests/dev/requirements.txt"
  done_with "$name"
}

azurite() {
  has "azurite-$AZURITE" && return
  say 'azurite, an Azure Blob server'
  twice npm install --prefix "$TOOLS" --no-audit --no-fund --loglevel=error "azurite@$AZURITE" >&2
  done_with "azurite-$AZURITE"
}

# Debian as a base of images, out of its packages: no registry of images is asked.
containers() { "$PROJECT/tests/dev/image.sh" base; }

go_tool() { # name version package
  has "$1-$2" && return
  command -v go >/dev/null || die "a Go toolchain is needed to build $1"
  say "building $1 $2"
  GOBIN=$TOOLS/bin twice go install "$3@$2"
  done_with "$1-$2"
}

cargo_tool() { # name version [option…]
  local name=$1 version=$2
  has "$name-$version" && return
  shift 2
  say "building $name $version"
  # Outside the project's folder, so that its settings do not count.
  (cd / && CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR=$TOOLS/cargo-tools-target twice \
    cargo install -q --locked --debug --force --root "$TOOLS" "$name" --version "$version" "$@")
  rm -rf -- "$TOOLS/cargo-tools-target"
  done_with "$name-$version"
}

# The long builds, one after another: each of them uses all cores.
builds() {
  go_tool minio "$MINIO" github.com/minio/minio
  go_tool helm "$HELM" helm.sh/helm/v3/cmd/helm
  go_tool kustomize "$KUSTOMIZE" sigs.k8s.io/kustomize/kustomize/v5
  cargo_tool cargo-deny "$CARGO_DENY" --no-default-features
  cargo_tool cargo-cyclonedx "$CARGO_CYCLONEDX"
}

release_tools() {
  cargo_tool cargo-cyclonedx "$CARGO_CYCLONEDX"
  cargo_tool cargo-auditable "$CARGO_AUDITABLE"
}

timed() {
  local began=$SECONDS
  # Not `timed … || …`: that would switch off the stop at the first error inside.
  "$1"
  local took=$((SECONDS - began))
  [ "$took" -lt 2 ] || say "$1: ready in $took s"
}

command -v cargo >/dev/null || die 'a Rust toolchain is needed; Cargo.toml says which'
mkdir -p -- "$TOOLS/bin" "$TOOLS/stamps"
# Two setups at once would step on each other.
exec 9>"$TOOLS/.lock"
flock 9

timed packages
if [ "$WANTED" = release ]; then
  timed release_tools
elif [ "$WANTED" != demo ]; then
  failed=()
  declare -A names
  for step in mysql mariadb_plugins promtool venv azurite containers builds; do
    (
      set -e
      timed "$step"
    ) 9>&- &
    names[$!]=$step
  done
  for id in "${!names[@]}"; do
    wait "$id" || failed+=("${names[$id]}")
  done
  [ ${#failed[@]} -eq 0 ] || die "setup failed: ${failed[*]}"
fi
