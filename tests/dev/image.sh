#!/usr/bin/env bash
# usage: image.sh base              the Debian that the images begin with, of this machine's own mirror
#        image.sh test BACKSTAY     builds the images with this program, looks into them, and runs them
#
# Registries of images are not asked for anything. What the test builds goes; Debian, and the stages of the Dockerfile
# that install packages, stay in $TOOLS/containers. The target xtrabackup needs Percona's repository: of it
# only the beginning is tested, that nothing is fetched before somebody has said by its hash what it has to be.
set -euo pipefail
: "${PROJECT:?run ./dev test}" "${TOOLS:?run ./dev test}"
# shellcheck source=tests/dev/lib.sh
source "$PROJECT/tests/dev/lib.sh"

STORE=$TOOLS/containers
DEBIAN=localhost/backstay-test/debian:12
MARKER=card-4000-0012-3456-7899
D=$(mktemp -d /tmp/backstay-image.XXXXXX)
SERVER=
HELD=no

clean_up() {
  if [ -n "$SERVER" ]; then
    kill "$SERVER" 2>/dev/null || true
    wait "$SERVER" 2>/dev/null || true
  fi
  # The store is this run's alone, so what a failure has left in it is its own.
  [ "$HELD" = no ] || in_store buildah rm --all >/dev/null 2>&1 || true
  as_root rm -rf -- "$D"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

in_store() { # program arguments…
  local program=$1
  shift
  as_root "$program" --root "$STORE/images" --runroot "$STORE/run" "$@"
}

base() {
  in_store buildah inspect --type image "$DEBIAN" >/dev/null 2>&1 && return
  local mirror container
  mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.{sources,list} 2>/dev/null |
    sed 's/#.*//' | grep -oE 'https?://[^ ]+/debian/?( |$)' | head -n 1) || true
  [ -n "$mirror" ] || die 'no Debian mirror in /etc/apt'
  twice as_root debootstrap --variant=minbase bookworm "$D/debian" "${mirror%% *}" >"$D/log" 2>&1 ||
    die "debootstrap: $(tail -n 5 -- "$D/log")"
  as_root rm -rf -- "$D"/debian/var/cache/apt/archives/*.deb "$D"/debian/var/lib/apt/lists/*
  # The suites that this machine has, updates among them: an engine must not be older than the server here.
  if [ -e /etc/apt/sources.list.d/debian.sources ]; then
    as_root rm -f -- "$D/debian/etc/apt/sources.list"
    as_root cp -- /etc/apt/sources.list.d/debian.sources "$D/debian/etc/apt/sources.list.d/"
  else
    as_root cp -- /etc/apt/sources.list "$D/debian/etc/apt/sources.list"
  fi
  as_root tar -C "$D/debian" -cf "$D/debian.tar" .
  container=$(in_store buildah from scratch)
  in_store buildah add -q "$container" "$D/debian.tar" / >/dev/null
  in_store buildah commit -q "$container" "$DEBIAN" >/dev/null
  in_store buildah rm "$container" >/dev/null
}

# A release made of the program that the tests use: `./dev release` would compile for many minutes.
release() { # backstay
  mkdir -p -- "$D/context/dist"
  strip -o "$D/context/dist/backstay" "$1"
  "$PROJECT/tests/dev/release.sh" sbom "$D/context/dist/backstay.cdx.json"
  cp -- "$PROJECT/LICENSE" "$D/context/dist/"
  (cd -- "$D/context/dist" && sha256sum backstay backstay.cdx.json LICENSE >SHA256SUMS)
  cp -r -- "$PROJECT/images" "$PROJECT/.dockerignore" "$D/context/"
}

build() { # target
  in_store buildah bud --isolation chroot --layers -f "$D/context/images/Dockerfile" --target "$1" \
    --build-arg "BASE=$DEBIAN" --build-arg VERSION=1.2.3 --build-arg REVISION=0123abc \
    --build-arg CREATED=2026-11-27T00:00:00Z -t "localhost/backstay-test/$1" "$D/context" >"$D/log" 2>&1
}

# As in a restricted pod: its user, a root file system that cannot be written, no capability, no new rights; and no network.
run() { # image arguments…
  local image=$1
  shift
  in_store podman --runtime runc --cgroup-manager cgroupfs --events-backend file run --rm -i \
    --read-only --read-only-tmpfs=false --tmpfs /tmp:rw,size=64m,mode=1777 --network none \
    --cap-drop=all --security-opt no-new-privileges --ulimit nofile=20000:20000 --ulimit nproc=4096:4096 \
    -v "$D/repository:/repository" -v "$D/keys:/run/keys:ro" -v "$D/restored:/restored" -v "$D/server:$D/server:ro" \
    -e BACKSTAY_REPO=file:///repository -e BACKSTAY_CLUSTER=shop -e BACKSTAY_KEK=file:/run/keys/kek \
    -e BACKSTAY_FORMAT=json "localhost/backstay-test/$image" "$@"
}

# What an image is: its user, its labels, and that nobody but root could change it.
look_into() { # target title
  local said container tree found
  said=$(in_store buildah inspect --type image "localhost/backstay-test/$1")
  python3 - "$2" "$said" <<'PYTHON' || die "$1: the image's settings are others"
import json, sys
config = json.loads(sys.argv[2])["OCIv1"]["config"]
labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
assert config["User"] == "999:999", config
assert config["Entrypoint"] == ["/usr/bin/backstay"], config
assert labels["title"] == sys.argv[1] and labels["licenses"].startswith("Apache-2.0"), labels
assert (labels["version"], labels["revision"], labels["created"]) == ("1.2.3", "0123abc", "2026-11-27T00:00:00Z"), labels
PYTHON
  # A container gets a /dev of its own; the other three are sticky folders, and a read-only root has none.
  container=$(in_store buildah from --pull-never "localhost/backstay-test/$1")
  tree=$(in_store buildah mount "$container")
  found=$(as_root find "$tree" -xdev ! -type l \( -user 999 -o -group 999 -o -perm -o=w \) \
    ! -path "$tree/dev/*" ! -path "$tree/tmp" ! -path "$tree/var/tmp" ! -path "$tree/run/lock")
  [ -z "$found" ] || die "$1: its user may write $found"
  found=$(as_root find "$tree" -xdev -type f -perm /6000)
  [ -z "$found" ] || die "$1: setuid: $found"
  cmp -- "$D/context/dist/backstay" "$tree/usr/bin/backstay" || die "$1: another program"
  cmp -- "$D/context/dist/backstay.cdx.json" "$tree/usr/share/doc/backstay/backstay.cdx.json" || die "$1: no bill of materials"
  if [ "$1" = bare ]; then
    # Nothing can be run but backstay: the rest that is marked as a program are the C library and what loads it.
    found=$(as_root find "$tree" -xdev -type f -perm /111 ! -name '*.so.*' -printf '/%P\n')
    [ "$found" = /usr/bin/backstay ] || die "bare: programs: $found"
    [ -s "$tree/etc/ssl/certs/ca-certificates.crt" ] || die 'bare: no certificates of public CAs'
    grep -q '^Package: libc6$' "$tree/var/lib/dpkg/status.d/libc6" || die 'bare: scanners find no libc6'
  fi
  in_store buildah rm "$container" >/dev/null
}

# Its files may be read by others: the engine in the image is another user.
start_server() {
  export UMASK=0644 UMASK_DIR=0755
  mariadb-install-db --no-defaults --user="$(id -un)" --datadir="$D/server/data" --skip-test-db \
    --auth-root-authentication-method=socket --auth-root-socket-user="$(id -un)" >"$D/log" 2>&1
  chmod 755 -- "$D" "$D/server" "$D/server/data"
  mariadbd --no-defaults --user="$(id -un)" --datadir="$D/server/data" --socket="$D/server/socket" --skip-networking \
    --log-error="$D/server.err" --server-id=1 --log-bin=binlog --innodb-buffer-pool-size=64M >"$D/log" 2>&1 &
  SERVER=$!
  local tries
  for ((tries = 0; tries < 600; tries++)); do
    sql 'SELECT 1' >/dev/null 2>&1 && break
    sleep 0.2
  done
  sql "CREATE USER backup@localhost IDENTIFIED BY 'a-password';
       GRANT RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR, REPLICA MONITOR ON *.* TO backup@localhost;
       CREATE DATABASE shop; USE shop; CREATE TABLE shop.cards (id INT PRIMARY KEY, number VARCHAR(40));
       INSERT INTO cards SELECT seq, CONCAT('$MARKER-', seq) FROM seq_1_to_5000"
}
sql() { mariadb --no-defaults --socket="$D/server/socket" --batch --skip-column-names -e "$1"; }

# From a real server's stream to a restored data folder, by the containers alone.
cycle() { # backstay
  "$1" keys new --kek "file:$D/keys/kek" >/dev/null 2>&1
  start_server
  printf a-password >"$D/keys/password"
  as_root chown -R 999:999 "$D/keys" "$D/repository" "$D/restored"
  local said
  said=$(mariadb-backup --no-defaults --backup --stream=xbstream --socket="$D/server/socket" --user="$(id -un)" \
    --target-dir="$D/small" 2>"$D/log" |
    run bare backup --source stdin --engine mariadb-backup --id monday 2>"$D/said") || die "backup: $(cat -- "$D/said")"
  # The other one runs the engine by itself, and so knows what a restore has to come to. mariadb-backup goes where the
  # server says that its data is, whatever it is told: the folder is mounted under the same path.
  run mariadb backup --mysql-socket "$D/server/socket" --mysql-user backup --mysql-password-file /run/keys/password \
    --datadir "$D/server/data" --id tuesday >/dev/null 2>"$D/said" || die "backup: $(cat -- "$D/said")"
  said=$(run bare list 2>/dev/null)
  [[ $said = *'"monday"'* && $said = *'"tuesday"'* ]] || die "list says: $said"
  run bare verify >/dev/null 2>"$D/said" || die "verify: $(cat -- "$D/said")"
  ! as_root grep -rqa -- "$MARKER" "$D/repository" || die 'there is plaintext in the repository'
  said=$(run mariadb restore --datadir /restored/data --backup tuesday 2>"$D/said") || die "restore: $(cat -- "$D/said")"
  python3 -c 'import json, sys; assert json.loads(sys.argv[1])["status"] == "proven"' "$said" || die "not proven: $said"
  as_root grep -qa -- "$MARKER-4999" "$D/restored/data/shop/cards.ibd" || die 'the rows were not restored'
  # What was altered is found from in there, too.
  local volume
  volume=$(as_root find "$D/repository" -type f -size +100k | head -n 1)
  printf X | as_root dd of="$volume" bs=1 seek=5000 conv=notrunc status=none
  local status=0
  run bare verify >/dev/null 2>&1 || status=$?
  [ "$status" -eq 6 ] || die "verify of an altered repository: exit $status"
}

# When this machine's server was updated, the engine in the image has to follow.
forget_old_packages() {
  local version
  version=$(dpkg-query -W -f '${Version}' mariadb-backup)
  [ "$(cat -- "$STORE/mariadb-backup" 2>/dev/null)" != "$version" ] || return 0
  in_store buildah rmi -f localhost/backstay-test/mariadb-packages >/dev/null 2>&1 || true
  in_store podman image prune -f >/dev/null
  printf '%s' "$version" >"$STORE/mariadb-backup"
}

check() { # backstay
  local tool
  for tool in buildah podman runc mariadbd mariadb-backup; do
    command -v "$tool" >/dev/null || die "$tool is missing: run ./dev setup"
  done
  in_store buildah inspect --type image "$DEBIAN" >/dev/null 2>&1 || die 'Debian is missing: run ./dev setup'
  mkdir -- "$D/repository" "$D/keys" "$D/restored" "$D/server"
  release "$1"
  forget_old_packages
  local target
  for target in certificates mariadb-packages bare mariadb; do
    build "$target" || twice build "$target" || die "$target: $(tail -n 20 -- "$D/log")"
  done
  ! build xtrabackup || die 'xtrabackup was built of something that nobody named'
  # The shell's own way of ending for a variable that is missing; what it printed, buildah may lose. apt would say Get: or Hit:.
  if ! grep -q 'exit status 2$' "$D/log" || grep -qE '^(Get|Hit|Ign|Err):' "$D/log"; then
    die "xtrabackup: $(tail -n 20 -- "$D/log")"
  fi
  look_into bare backstay
  look_into mariadb 'backstay with mariadb-backup'
  [ "$(run bare --version)" = "$("$1" --version)" ] || die 'bare: another version'
  cycle "$1"
  # Only what installs packages stays.
  in_store buildah rmi localhost/backstay-test/{bare,mariadb} >/dev/null
  in_store podman image prune -f >/dev/null
}

mkdir -p -- "$STORE"
exec 9>"$STORE/.lock"
flock 9
HELD=yes
case ${1:-} in
  base) base ;;
  test) check "$(readlink -f -- "${2:?image.sh test BACKSTAY}")" ;;
  *) die 'image.sh base, or image.sh test BACKSTAY' ;;
esac
