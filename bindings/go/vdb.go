// Package vdb finds the nearest of many vectors: libvdb for Go.
//
// [Build] makes an index directory from vectors, [Open] opens one, [DB.Search] answers which k rows are
// nearest to a query:
//
//	_, err := vdb.Build(ctx, "words.vdb", vdb.FromFlat(vectors, 100), vdb.BuildOptions{Metric: vdb.Cosine})
//	db, err := vdb.Open("words.vdb", nil)
//	defer db.Close()
//	hits, err := db.Search(ctx, query, vdb.SearchOptions{K: 10})
//
// Everything may be called from any number of goroutines at once, but for a [Cursor], which serves one at a
// time. A call that fails says why by an [*Error], which errors.Is compares with [ErrNotFound] and its
// like. Calls stop soon after their context is done. What a call costs and answers is said in vdb.h, the C
// API, which this package calls and to which it adds nothing but Go's manners.
//
// # Getting it
//
// The module lies in the repository of libvdb, and has no dependencies:
//
//	go mod edit -require=vdb@v0.0.0 -replace=vdb=/path/to/libvdb/bindings/go
//
// It needs cgo, and libvdb.so at build time and at run time. Where that is installed as a system library
// nothing has to be set; where it is not, say in which directory it lies:
//
//	export CGO_LDFLAGS="-L/path/to/libvdb/target/release -Wl,-rpath,/path/to/libvdb/target/release"
//
// # What crossing into C costs
//
// A search holds its thread until it is done, so a service should let no more of them run at once than it
// has cores. [DB.SearchInto] allocates nothing as long as its context cannot be done, as
// context.Background(); one that can costs six small allocations, and some 1.5 microseconds.
package vdb

/*
#cgo LDFLAGS: -lvdb
#include <stdlib.h>
#include "vdb.h"
*/
import "C"

import (
	"fmt"
	"runtime"
	"sync"
	"unsafe"
)

// Metric is how distance is measured. Smaller is closer under each.
type Metric uint32

const (
	L2           Metric = C.VDB_METRIC_L2     // squared Euclidean distance
	InnerProduct Metric = C.VDB_METRIC_IP     // the negated inner product
	Cosine       Metric = C.VDB_METRIC_COSINE // 1 - cosine
)

// ElementType is the type in which an index stores the elements of its vectors.
type ElementType uint32

const (
	F32 ElementType = C.VDB_TYPE_F32
	F16 ElementType = C.VDB_TYPE_F16
	U8  ElementType = C.VDB_TYPE_U8
)

// CacheOff turns a cache off in [Options].
const CacheOff = ^uint64(0)

// NoID is the id that no row has.
const NoID = ^uint64(0)

// Options say how to open an index. The zero value means: as the machine has room.
type Options struct {
	MemoryLimitBytes uint64 // for all that the DB holds; 0: from what machine and cgroup have free
	VectorCacheBytes uint64 // 0: chosen; CacheOff: none
	AnswerCacheBytes uint64 // 0: chosen; CacheOff: none
	Threads          uint32 // 0: what machine and cgroup allow; 1: no thread is ever made
	NoMmap           bool   // read by system calls alone
	Check            bool   // check every byte before use
}

// DB is an open index. Close it; the garbage collector does so late, and not at all when the program ends.
type DB struct {
	// Searches hold it for reading, Close for writing: a handle is never freed under a call.
	mu      sync.RWMutex
	handle  *C.vdb_t
	cleanup runtime.Cleanup
	dim     int
	rows    uint64
}

// Open opens the index in the directory path, for reading. nil options are the zero value.
func Open(path string, options *Options) (*DB, error) {
	if err := checkVersion(); err != nil {
		return nil, err
	}
	var raw C.vdb_options_t
	raw.struct_size = C.sizeof_vdb_options_t
	if options != nil {
		raw.memory_limit_bytes = C.uint64_t(options.MemoryLimitBytes)
		raw.vector_cache_bytes = C.uint64_t(options.VectorCacheBytes)
		raw.answer_cache_bytes = C.uint64_t(options.AnswerCacheBytes)
		raw.threads = C.uint32_t(options.Threads)
		if options.NoMmap {
			raw.flags |= C.VDB_OPEN_NO_MMAP
		}
		if options.Check {
			raw.flags |= C.VDB_OPEN_CHECK
		}
	}
	cpath := C.CString(path)
	defer C.free(unsafe.Pointer(cpath))
	var handle *C.vdb_t
	var cerr *C.vdb_error_t
	if status := C.vdb_open(cpath, &raw, &handle, &cerr); status != C.VDB_OK {
		return nil, newError(status, cerr)
	}
	db := &DB{handle: handle}
	info, err := db.Info()
	if err != nil {
		C.vdb_free(handle)
		return nil, err
	}
	db.dim, db.rows = info.Dim, info.Rows
	// The net below programs that forget Close. It joins threads, so it must not hold up other cleanups.
	db.cleanup = runtime.AddCleanup(db, func(handle *C.vdb_t) { go C.vdb_free(handle) }, handle)
	return db, nil
}

// Close waits for the calls that are running, and frees what the index holds. Calls that come later fail
// with [ErrClosed]; a second Close does nothing. Cursors stay good.
func (db *DB) Close() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.handle != nil {
		db.cleanup.Stop()
		C.vdb_free(db.handle)
		db.handle = nil
	}
	return nil
}

// Dim is the number of elements of every vector.
func (db *DB) Dim() int { return db.dim }

// acquire keeps the handle open until release, or fails with ErrClosed.
func (db *DB) acquire() error {
	db.mu.RLock()
	if db.handle == nil {
		db.mu.RUnlock()
		return ErrClosed
	}
	return nil
}

// release ends what acquire began. Called after the C call, it also keeps db from being collected during
// it.
func (db *DB) release() {
	db.mu.RUnlock()
	runtime.KeepAlive(db)
}

// Version is that of the library that is loaded, as in "0.1.0".
func Version() string {
	return versionText(uint32(C.vdb_version()))
}

// checkVersion fails if the library that is loaded does not go with the header that this package was
// compiled with.
var checkVersion = sync.OnceValue(func() error {
	return compatible(uint32(C.vdb_version()), C.VDB_VERSION)
})

// compatible fails unless a library may be used through a header: same major version, before 1.0 same minor
// version, and the library not older.
func compatible(library, header uint32) error {
	series := func(version uint32) uint32 {
		if major := version >> 16; major > 0 {
			return major << 16
		}
		return version >> 8
	}
	if series(library) == series(header) && library >= header {
		return nil
	}
	return &Error{Status: ErrUnsupported, Message: fmt.Sprintf(
		"libvdb %s is loaded, but this package was made for %s; install that, or the package of the library",
		versionText(library), versionText(header)), Row: -1}
}

func versionText(version uint32) string {
	return fmt.Sprintf("%d.%d.%d", version>>16, version>>8&0xff, version&0xff)
}
