#!/usr/bin/env bash
# usage: mysql9.sh PREFIX
#
# Unpacks MySQL 9 and the C library that it wants, from Debian unstable, into PREFIX, and makes
# PREFIX/bin/{mysqld,mysql,mysqlbinlog,…}. Nothing is installed: PREFIX can be moved and removed.
set -euo pipefail

PREFIX=$(realpath -m -- "${1:?usage: mysql9.sh PREFIX}")
NEW=$PREFIX.new
ROOT=$NEW/root
APT=$NEW/apt

case $(dpkg --print-architecture) in
  amd64) LIBRARIES=usr/lib/x86_64-linux-gnu LOADER=ld-linux-x86-64.so.2 ;;
  arm64) LIBRARIES=usr/lib/aarch64-linux-gnu LOADER=ld-linux-aarch64.so.1 ;;
  *) echo "mysql9.sh: only amd64 and arm64 are known" >&2 && exit 1 ;;
esac

rm -rf -- "$NEW"
trap 'rm -rf -- "$NEW"' EXIT
mkdir -p -- "$NEW/bin" "$ROOT" "$APT/lists/partial" "$APT/archives/partial"

# The mirror that this machine uses for Debian itself.
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.{sources,list} 2>/dev/null |
  sed 's/#.*//' | grep -oE 'https?://[^ ]+/debian/?( |$)' | head -n 1) || true
mirror=${mirror%% *}
[ -n "$mirror" ] || { echo "mysql9.sh: no Debian mirror in /etc/apt" >&2 && exit 1; }

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keyring] $mirror sid main" >"$APT/sources.list"
# With an empty status file apt takes nothing for installed and names everything that is needed.
: >"$APT/status"
options=(
  -o "Dir::Etc::SourceList=$APT/sources.list" -o Dir::Etc::SourceParts=/dev/null
  -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null
  -o "Dir::State::Lists=$APT/lists" -o "Dir::State::status=$APT/status"
  -o "Dir::Cache=$APT" -o "Dir::Cache::Archives=$APT/archives"
  -o APT::Sandbox::User= -o Acquire::Languages=none
  # A mirror of unstable may be past its date; the signatures are checked all the same.
  -o Acquire::Check-Valid-Until=false
)
apt-get "${options[@]}" -qq update
mapfile -t packages < <(
  apt-get "${options[@]}" -s --no-install-recommends install mysql-server-core mysql-client-core |
    awk '/^Inst /{print $2}' |
    grep -Ev '^(perl|libperl|libdb5|libgdbm|openssl-provider|libsasl2-modules|libtirpc-common|gcc-.*-base|libc-gconv)'
)
[ ${#packages[@]} -gt 5 ] || { echo "mysql9.sh: unstable has no mysql-server-core" >&2 && exit 1; }
(cd -- "$APT/archives" && apt-get "${options[@]}" -qq download "${packages[@]}")
for package in "$APT"/archives/*.deb; do
  dpkg-deb --fsys-tarfile "$package" | tar -x -C "$ROOT" \
    --exclude=./usr/share/{doc,man,locale,lintian}
done
rm -rf -- "$APT"

wrapper() { # path of a program below the root
  local name=${1##*/}
  cat <<SH
#!/bin/sh
R=\$(dirname -- "\$(dirname -- "\$(readlink -f -- "\$0")")")/root
L=\$R/$LIBRARIES
SH
  # The server must not read this machine's settings, yet --defaults-file has to stay in front.
  [ "$name" != mysqld ] || cat <<'SH'
case ${1-} in
  --defaults-file=* | --no-defaults | --print-defaults | --defaults-extra-file=*) first=$1; shift ;;
  *) first=--no-defaults ;;
esac
set -- "$first" --basedir="$R/usr" --plugin-dir="$R/usr/lib/mysql/plugin" \
  --lc-messages-dir="$R/usr/share/mysql" --secure-file-priv=NULL "$@"
SH
  cat <<SH
exec "\$L/$LOADER" --library-path "\$L" --argv0 "\$R/$1" "\$R/$1" "\$@"
SH
}

for program in "$ROOT"/usr/bin/* "$ROOT"/usr/sbin/*; do
  [ "$(head -c 4 "$program" | tail -c 3)" = ELF ] || continue
  wrapper "${program#"$ROOT"/}" >"$NEW/bin/${program##*/}"
  chmod 755 "$NEW/bin/${program##*/}"
done
"$NEW/bin/mysqld" --version >&2
"$NEW/bin/mysql" --version >&2

rm -rf -- "$PREFIX"
mv -- "$NEW" "$PREFIX"
