// Failures: from a status and an error object of C to errors that errors.Is and errors.As know.

package vdb

/*
#include "vdb.h"
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"syscall"
)

// Status is why a call failed. Each is an error to compare with, as in errors.Is(err, vdb.ErrNotFound).
type Status int32

const (
	ErrInvalidArgument Status = C.VDB_INVALID_ARGUMENT // wrong dimension, NaN, K = 0
	ErrNotFound        Status = C.VDB_NOT_FOUND        // no such file or id
	ErrExists          Status = C.VDB_EXISTS           // a build onto an index that is there
	ErrCorrupt         Status = C.VDB_CORRUPT          // bytes on disk are not what was written
	ErrFormat          Status = C.VDB_FORMAT           // not an index, or written by a newer version
	ErrIO              Status = C.VDB_IO               // the system failed a read, write or sync
	ErrDiskFull        Status = C.VDB_DISK_FULL        // no space, or over quota
	ErrOutOfMemory     Status = C.VDB_OUT_OF_MEMORY    // allocation failed, or the limit is too low
	ErrCancelled       Status = C.VDB_CANCELLED        // the context was cancelled, or progress said stop
	ErrTimeout         Status = C.VDB_TIMEOUT          // the context's deadline passed
	ErrBusy            Status = C.VDB_BUSY             // another process is writing
	ErrReadOnly        Status = C.VDB_READ_ONLY        // a write to what was opened for reading
	ErrUnsupported     Status = C.VDB_UNSUPPORTED      // legal, but not for this index, library or machine
	ErrForked          Status = C.VDB_FORKED           // opened before a fork, by the parent
	ErrMisuse          Status = C.VDB_MISUSE           // called from within a callback
	ErrInternal        Status = C.VDB_INTERNAL         // a defect of the library, caught
)

// ErrClosed is what calls on a closed [DB] or [Cursor] fail with.
var ErrClosed = errors.New("vdb: closed")

// Error names the status, as "VDB_CORRUPT".
func (s Status) Error() string {
	return C.GoString(C.vdb_status_name(C.vdb_status_t(s)))
}

// Error is a failed call. errors.Is finds its Status in it, the error of the context that stopped it
// (context.Canceled, or context.DeadlineExceeded), and the system's, as fs.ErrNotExist.
type Error struct {
	Status      Status
	Message     string // what went wrong and what to do about it
	Row         int64  // of the input that is at fault, from 0; -1: none
	NeededBytes int64  // the least memory or disk that would have done; 0: not said
	cause       error
}

func (e *Error) Error() string { return "vdb: " + e.Message }

// Unwrap gives the context's error or the system's, if one of them was the cause.
func (e *Error) Unwrap() error { return e.cause }

// Is says whether target is the status of e.
func (e *Error) Is(target error) bool {
	status, ok := target.(Status)
	return ok && status == e.Status
}

// newError takes over the error object of a call.
func newError(status C.vdb_status_t, object *C.vdb_error_t) *Error {
	defer C.vdb_error_free(object)
	e := &Error{
		Status:      Status(status),
		Message:     C.GoString(C.vdb_error_message(object)),
		Row:         int64(C.vdb_error_detail(object, C.VDB_DETAIL_ROW)),
		NeededBytes: max(0, int64(C.vdb_error_detail(object, C.VDB_DETAIL_NEEDED_BYTES))),
	}
	if errno := C.vdb_error_detail(object, C.VDB_DETAIL_OS_CODE); errno > 0 {
		e.cause = syscall.Errno(errno)
	}
	return e
}

// stopped is newError for a call that ran under ctx.
func stopped(ctx context.Context, status C.vdb_status_t, object *C.vdb_error_t) error {
	e := newError(status, object)
	switch e.Status {
	case ErrTimeout:
		e.cause = context.DeadlineExceeded
	case ErrCancelled:
		e.cause = ctx.Err()
		if e.cause == context.DeadlineExceeded {
			e.Status = ErrTimeout
		}
	}
	return e
}

// done is the error of a call whose context was done before it began, or nil.
func done(ctx context.Context) error {
	err := ctx.Err()
	switch err {
	case nil:
		return nil
	case context.DeadlineExceeded:
		return &Error{ErrTimeout, "the deadline passed before the call", -1, 0, err}
	default:
		return &Error{ErrCancelled, "the context was cancelled before the call", -1, 0, err}
	}
}

func invalid(format string, values ...any) error {
	return &Error{Status: ErrInvalidArgument, Message: fmt.Sprintf(format, values...), Row: -1}
}
