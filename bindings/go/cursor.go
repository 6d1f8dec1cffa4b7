// Searches that go on past k. The one place where C keeps what Go gave it: the token, which is C's memory
// therefore.

package vdb

/*
#include <stdlib.h>
#include "bridge.h"
*/
import "C"

import (
	"context"
	"iter"
	"runtime"
	"sync"
	"unsafe"
)

// portion is how many rows All asks for at a time if nothing is said.
const portion = 64

// Cursor is a search that goes on: the nearest rows, and the next ones. Calls on it take turns.
type Cursor struct {
	mu      sync.Mutex
	ctx     context.Context
	parts   *cursorParts
	cleanup runtime.Cleanup
	portion int
}

// cursorParts is what has to be given back, and does not know the Cursor, which the collector may take
// first.
type cursorParts struct {
	handle *C.vdb_cursor_t
	token  *C.vdb_cancel_t
	end    func()
}

// Cursor begins a search that gives its rows in portions. It stops, for good, when ctx is done. opts.K is
// how many rows [Cursor.All] asks for at a time, 0 leaves that open; opts.Stats is not filled. The cursor
// stays good when db is closed. Close it.
func (db *DB) Cursor(ctx context.Context, query []float32, opts SearchOptions) (*Cursor, error) {
	if err := done(ctx); err != nil {
		return nil, err
	}
	if err := db.acquire(); err != nil {
		return nil, err
	}
	defer db.release()
	parts := &cursorParts{}
	if ctx.Done() != nil {
		parts.token = (*C.vdb_cancel_t)(C.calloc(1, C.sizeof_vdb_cancel_t))
		parts.end = watch(ctx, (*int32)(unsafe.Pointer(parts.token)))
	}
	search := opts.toC(0)
	var cerr *C.vdb_error_t
	status := C.vdbgo_cursor_open(db.handle, floats(query), C.size_t(len(query)), &search,
		opts.filterValues(), parts.token, &parts.handle, &cerr)
	if status != C.VDB_OK {
		parts.free()
		return nil, stopped(ctx, status, cerr)
	}
	cursor := &Cursor{ctx: ctx, parts: parts, portion: opts.K}
	if cursor.portion < 1 {
		cursor.portion = portion
	}
	cursor.cleanup = runtime.AddCleanup(cursor, (*cursorParts).free, parts)
	return cursor, nil
}

// Next fills ids with the next rows, and distances, which is as long or nil, with their distances: never a
// row twice, none closer than those before. It returns how many there were: below len(ids) near the end, 0
// at the end.
func (c *Cursor) Next(ids []uint64, distances []float32) (int, error) {
	if distances != nil && len(distances) != len(ids) {
		return 0, invalid("distances must be as long as ids, or nil")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.parts == nil {
		return 0, ErrClosed
	}
	if err := done(c.ctx); err != nil {
		return 0, err
	}
	var count C.size_t
	var cerr *C.vdb_error_t
	status := C.vdb_cursor_next(c.parts.handle, C.size_t(len(ids)), words(ids), floats(distances), &count,
		&cerr)
	if status != C.VDB_OK {
		return 0, stopped(c.ctx, status, cerr)
	}
	return int(count), nil
}

// All gives the rows one by one, closest first, until the end or an error, which comes with a zero Hit.
// Rows are fetched in portions; a loop that is left passes over the rest of its portion.
func (c *Cursor) All() iter.Seq2[Hit, error] {
	return func(yield func(Hit, error) bool) {
		ids, distances := make([]uint64, c.portion), make([]float32, c.portion)
		for {
			count, err := c.Next(ids, distances)
			if err != nil {
				yield(Hit{}, err)
				return
			}
			for i := range count {
				if !yield(Hit{ids[i], distances[i]}, nil) {
					return
				}
			}
			if count < len(ids) {
				return
			}
		}
	}
}

// Close ends the cursor. A second Close does nothing.
func (c *Cursor) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.parts != nil {
		c.cleanup.Stop()
		c.parts.free()
		c.parts = nil
	}
	return nil
}

func (p *cursorParts) free() {
	C.vdb_cursor_free(p.handle)
	if p.token != nil {
		p.end()
		C.free(unsafe.Pointer(p.token))
	}
}
