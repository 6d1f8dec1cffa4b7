#!/bin/sh
# Compiles and runs the C tests against a built library; says what it does, a line each, and fails if any of it fails.
#
#     tests/c/run.sh [DIRECTORY]      where libvdb.so is (default: target/release)
#
# CC and CXX choose the compilers. As root, a small disk is mounted for the test of full disks; elsewhere it is skipped.
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
lib=${1:-$root/target/release}
case $lib in /*) ;; *) lib=$PWD/$lib ;; esac
out=$root/target/c-tests
strict="-Wall -Wextra -Wpedantic -Werror"
failed=0

say() { printf '%-10s %s\n' "$1" "$2"; }
fail() { say "$1" "FAILED: $2"; failed=1; }
has() { command -v "$1" >/dev/null 2>&1; }

[ -e "$lib/libvdb.so" ] || { echo "no libvdb.so in $lib: run cargo build --release, or name its directory" >&2; exit 2; }
cc=${CC:-cc}
has "$cc" || { echo "no C compiler: install gcc (apt-get install gcc), or set CC" >&2; exit 2; }
mkdir -p "$out"

# The header alone, in every language that it speaks, with every compiler that is here.
header() { # compiler, language, standards
    compiler=$1 language=$2
    shift 2
    has "$compiler" || return 0
    for standard in "$@"; do
        pedantic="$strict -Wundef -Wpadded"
        [ "$language" = c ] && pedantic="$pedantic -Wstrict-prototypes"
        # shellcheck disable=SC2086
        if "$compiler" -x "$language" -std="$standard" $pedantic -fsyntax-only "$root/include/vdb.h" 2>"$out/header.log"; then
            headers="$headers $compiler/$standard"
        else
            cat "$out/header.log" >&2
            fail header "$compiler -std=$standard"
        fi
    done
}
headers=""
header "$cc" c c99 c11 c17
header "${CXX:-c++}" c++ c++11 c++17 c++20
if [ "$cc" != clang ]; then
    header clang c c99 c11 c17
    header clang++ c++ c++11 c++17 c++20
fi
say header "ok:$headers"

# Exactly the functions of the header are exported, under the name that programs will ask for, and stay mapped.
if has nm; then
    sed 's/\/\*\*<.*//' "$root/include/vdb.h" | grep -v '^ \*\|^/\*\|typedef\|#' |
        grep -o 'vdb_[a-z_]*(' | tr -d '(' | sort -u >"$out/declared"
    nm -D --defined-only "$lib/libvdb.so" | awk '{print $3}' | sed 's/@.*//' | sort -u >"$out/exported"
    if diff "$out/declared" "$out/exported" >"$out/symbols.log"; then
        say symbols "ok, $(wc -l <"$out/declared") functions, nothing else exported"
    else
        cat "$out/symbols.log" >&2
        fail symbols "header (<) and library (>) differ"
    fi
    # A quiet guest imports nothing that changes the host. What the standard library needs is allowed.
    if nm -D --undefined-only "$lib/libvdb.so" | awk '{print $2}' | sed 's/@.*//' |
        grep -x -E 'signal|sigaction|setlocale|atexit|exit|_exit|printf|puts|fork|setenv|putenv|chdir|umask|fesetenv' >&2; then
        fail symbols "imports the above"
    fi
else
    say symbols "skipped: no nm (binutils)"
fi
if has readelf; then
    soname=$(readelf -d "$lib/libvdb.so" | sed -n 's/.*soname: \[\(.*\)\].*/\1/p')
    major=$(sed -n 's/#define VDB_VERSION_MAJOR //p' "$root/include/vdb.h")
    minor=$(sed -n 's/#define VDB_VERSION_MINOR //p' "$root/include/vdb.h")
    wanted=libvdb.so.$major
    [ "$major" = 0 ] && wanted=libvdb.so.0.$minor
    [ "$soname" = "$wanted" ] || fail soname "is '$soname', not $wanted"
    readelf -d "$lib/libvdb.so" | grep -q NODELETE || fail soname "the library is not marked nodelete"
    [ -e "$lib/$soname" ] || fail soname "no $lib/$soname: linked programs would not start"
    say soname "$soname, nodelete"
fi

# The tests.
small=""
if [ "$(id -u)" = 0 ] && mkdir -p "$out/small" && mount -t tmpfs -o size=2m vdb-test "$out/small" 2>/dev/null; then
    small=$out/small
    trap 'umount "$out/small"' EXIT
fi
build() { # name, linking
    name=$1
    shift
    # shellcheck disable=SC2086
    "$cc" -std=c99 $strict -O1 -g -I"$root/include" "$here/$name.c" -o "$out/$name" "$@" -lm -lpthread
}
run() { # name, arguments
    name=$1
    shift
    VDB_TEST_SMALL_DISK=$small timeout 300 "$out/$name" "$@" || fail "$name" "status $?"
}
for name in layout api bad_input rules exact threads fork stack; do
    if build "$name" -L"$lib" -lvdb -Wl,-rpath,"$lib"; then run "$name"; else fail "$name" "does not compile"; fi
done
if build dlopen -ldl; then run dlopen "$lib/libvdb.so"; else fail dlopen "does not compile"; fi

# The program of the README: what its reader knows of around it, and every other line as it stands there.
{
    echo '#include <stdio.h>'
    sed -n '/^```c$/,/^```$/p' "$root/README.md" | grep '^#include'
    echo 'int main(void) { static const float query[100] = {0};'
    sed -n '/^```c$/,/^```$/p' "$root/README.md" | grep -v '^```\|^#include'
    echo 'return 0; }'
} >"$out/readme.c"
# shellcheck disable=SC2086
if grep -q vdb_search "$out/readme.c" &&
    "$cc" -std=c99 $strict -I"$root/include" "$out/readme.c" -o "$out/readme" -L"$lib" -lvdb -Wl,-rpath,"$lib"; then
    # Without an index it has an error to tell of.
    told=$(cd "$out" && rm -rf words.vdb && ./readme 2>&1) && case $told in *words.vdb*) say readme ok ;; *) false ;; esac ||
        fail readme "told '$told' where there is no index"
else
    fail readme "the program of README.md does not compile"
fi

# A test with the static library.
if [ -e "$lib/libvdb.a" ]; then
    # shellcheck disable=SC2086
    if "$cc" -std=c99 $strict -I"$root/include" "$here/api.c" "$lib/libvdb.a" -o "$out/api-static" \
        -lgcc_s -lutil -lrt -lpthread -lm -ldl; then
        run api-static
    else
        fail static "does not link"
    fi
fi

[ $failed = 0 ] && echo "C tests: ok" || echo "C tests: FAILED"
exit $failed
