#!/bin/sh
# Tests of the Go binding: test.sh RELEASE_DIR, the directory of libvdb.so.
#
# Formatting, vet, tests, tests again with the race detector and under constant garbage collection, and the
# word search, as a module of its own, over an index that it builds itself. Needs no network: there are no
# dependencies.
set -eu

release=$(cd "${1:?usage: test.sh RELEASE_DIR}" && pwd)
cd "$(dirname "$0")"
export CGO_ENABLED=1 CGO_LDFLAGS="-L$release -Wl,-rpath,$release"
export GOPROXY=off GOFLAGS=-mod=readonly GOTOOLCHAIN=local GOWORK=off
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

unformatted=$(gofmt -l .)
[ -z "$unformatted" ] || { echo "bindings/go: not formatted by gofmt: $unformatted" >&2; exit 1; }
go vet ./...
go test -count=1 ./...
go test -count=1 -race .
GOGC=1 go test -count=1 .

mkdir "$work/module"
cp examples/words/main.go "$work/module/"
(
    here=$PWD
    cd "$work/module"
    go mod init words 2> /dev/null
    go mod edit -go=1.24 -require=vdb@v0.0.0 "-replace=vdb=$here"
    go build -o "$work/words" .
)
"$work/words" "$work/words.vdb" ../../demo/data king guitar > "$work/built" 2> /dev/null
"$work/words" "$work/words.vdb" ../../demo/data king guitar > "$work/opened"
cmp "$work/built" "$work/opened"
grep -q '^king .* queen ' "$work/opened"
grep -q '^guitar .* bass ' "$work/opened"
echo "bindings/go: passed"
