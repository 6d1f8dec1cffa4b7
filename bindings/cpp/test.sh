#!/bin/sh
# Tests of the C++ binding: test.sh RELEASE_DIR, the directory of libvdb.so.
#
# Compiles vdb.hpp as C++17 and C++20, with every C++ compiler that is there, all warnings being errors, with
# and without exceptions; runs the tests, and the word search over an index that it builds itself.
set -eu

release=$(cd "${1:?usage: test.sh RELEASE_DIR}" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

warn="-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror"
include="-I$root/include -I$here"
link="-L$release -lvdb -Wl,-rpath,$release -pthread"

# A second translation unit, so that nothing in the header is defined twice.
cat > "$work/elsewhere.cpp" <<'CPP'
#include "vdb.hpp"
std::uint32_t version_seen_elsewhere();
std::uint32_t version_seen_elsewhere() { return vdb::version(); }
CPP

compilers= seen=
for compiler in "${CXX:-c++}" g++ clang++; do
    path=$(readlink -f "$(command -v "$compiler")") || continue
    case " $seen " in *" $path "*) continue ;; esac
    seen="$seen $path" compilers="$compilers $compiler"
done

run_tests() { # COMPILER STANDARD FLAGS...
    compiler=$1 standard=$2
    shift 2
    rm -rf "$work/data" && mkdir "$work/data"
    "$compiler" "-std=$standard" $warn "$@" $include "$here/test.cpp" "$work/elsewhere.cpp" \
        -o "$work/test" $link
    "$work/test" "$work/data" || { echo "bindings/cpp: failed: $compiler $standard $*" >&2; exit 1; }
}

for compiler in $compilers; do
    run_tests "$compiler" c++17
    run_tests "$compiler" c++20
    run_tests "$compiler" c++17 -fno-exceptions -fno-rtti
done

# Each C function is called from one place.
twice=$(grep -v '^ *//' "$here/vdb.hpp" | grep -o 'vdb_[a-z_]*(' | sort | uniq -d)
[ -z "$twice" ] || { echo "vdb.hpp calls more than once: $twice" >&2; exit 1; }

for compiler in $compilers; do
    "$compiler" -std=c++17 -O2 $warn $include "$here/examples/words.cpp" -o "$work/words" $link
done
"$work/words" "$work/words.vdb" "$root/demo/data" king guitar > "$work/built" 2> /dev/null
"$work/words" "$work/words.vdb" "$root/demo/data" king guitar > "$work/opened"
cmp "$work/built" "$work/opened"
grep -q '^king .* queen ' "$work/opened"
grep -q '^guitar .* bass ' "$work/opened"
echo "bindings/cpp: passed with$compilers"
