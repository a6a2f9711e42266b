#!/bin/sh
# Installs CryptoAI's edge bundle from this folder alone: nothing is fetched from anywhere.
#
#   sudo ./install.sh                 into /opt/cryptoai-edge, with its services
#   ./install.sh --into FOLDER        into a folder, without services, as any user
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=
case "${1:-}" in
  "") ;;
  --into) root=${2:?which folder?}; mkdir -p "$root"; root=$(cd "$root" && pwd) ;;
  *) sed -n '2,6p' "$0"; exit 2 ;;
esac
python=${PYTHON:-python3.11}
"$python" -c 'import sys, sysconfig; sys.exit(sys.version_info[:2] != (3, 11))' ||
  { echo "Python 3.11 is needed; PYTHON=/path/to/python3.11 names it"; exit 1; }
"$python" -c 'import venv, ensurepip' 2>/dev/null || { echo "python3-venv is needed: sudo apt install python3-venv"; exit 1; }
if [ -z "$root" ] && [ "$(id -u)" != 0 ]; then echo "run it with sudo, or with --into FOLDER"; exit 1; fi

(cd "$here" && sha256sum --check --quiet SHA256SUMS) || { echo "a file of the archive is damaged: copy it again"; exit 1; }

program=$root/opt/cryptoai-edge
data=$root/var/lib/cryptoai-edge
settings=$root/etc/cryptoai-edge
new=$program.new
rm -rf "$new"
mkdir -p "$(dirname "$program")" "$settings/keys" "$data/releases"
"$python" -m venv "$new"
"$new/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --find-links "$here/wheels" "cryptoai-edge"
# What reads pieces of words comes without the client of a server that no device asks; pip is not needed any more.
"$new/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --find-links "$here/wheels" "tokenizers"
"$new/bin/python" -m pip uninstall --quiet --disable-pip-version-check --yes setuptools pip
# A venv knows its own place: what it was made as it must be called.
find "$new/bin" -type f -exec sed -i "s|$new|$program|g" {} +
rm -rf "$program"
mv "$new" "$program"

cp "$here"/keys/*.pub "$settings/keys/"
[ -e "$settings/settings.toml" ] || sed "s|/var/lib/cryptoai-edge|$data|; s|^# Where the platform's|trusted_keys = \"$settings/keys\"\n&|" "$here/settings.toml" > "$settings/settings.toml"
# The model of the archive, unless a newer one was installed already.
for model in "$here"/releases/*; do
  [ -e "$data/releases/$(basename "$model")" ] || cp -R "$model" "$data/releases/"
done

if [ -z "$root" ]; then
  id cryptoai >/dev/null 2>&1 || useradd --system --home-dir "$data" --shell /usr/sbin/nologin cryptoai
  chown -R cryptoai:cryptoai "$data"
  chown -R root:cryptoai "$settings"
  chmod -R u=rwX,g=rX,o= "$settings"
  ln -sf "$program/bin/cryptoai-edge" /usr/local/bin/cryptoai-edge
  cp "$here"/system/*.service "$here"/system/*.timer /etc/systemd/system/
  systemctl daemon-reload
  systemctl enable --now cryptoai-edge-dashboard.service
  for timer in harvest infer news alerts etl update; do systemctl enable --now "cryptoai-edge@$timer.timer"; done
fi
as_itself=
if [ -z "$root" ]; then as_itself="runuser -u cryptoai --"; fi
$as_itself "$program/bin/cryptoai-edge" --settings "$settings/settings.toml" selftest
echo "Installed. \"$program/bin/cryptoai-edge\" doctor says how it is; the page is on port 5000."
