#!/bin/sh
# libvdb beside its peers at equal recall: run.sh SET... [OPTION...]; README.md says how, --help what there is.
# Peers come into an environment of their own, in target/compare, where all else that is made stays too.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
venv=$root/target/compare/venv
export PYTHONDONTWRITEBYTECODE=1
[ -x "$root/target/release/vdb" ] || case "$*" in *--vdb*) ;; *) (cd "$root" && cargo build --release) ;; esac
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    "${PYTHON:-python3}" -m venv "$venv"
    grep -v '^#' "$here/requirements.txt" | while read -r pin; do
        "$venv/bin/pip" install -q --disable-pip-version-check "$pin" </dev/null || echo "$pin: not installed" >&2
    done
    cp "$here/requirements.txt" "$venv/requirements.txt"
fi
exec "$venv/bin/python" "$here/measure.py" "$@"
